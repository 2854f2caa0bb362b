# SPDX-License-Identifier: Apache-2.0
"""Drives one method through one training run: finds its sites and settles them after every step."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any, Collection

import tensorflow as tf

from tfprune.backend import adapter_of_model
from tfprune.backend.find_sites import Found
from tfprune.backend.model_view import ModelView
from tfprune.masks.sites import Skip
from tfprune.methods.base import Method
from tfprune.statistics.calibration_data import Feed
from tfprune.statistics.measured_model import Subject
from tfprune.training import run_checks as cautions
from tfprune.training.mask_updater import Settle, Target, adopt, note_thresholds
from tfprune.training.measured_update import Updates
from tfprune.training.model_hooks import refuse_pruning
from tfprune.training.plan import plan
from tfprune.training.run_length import Run, resolve
from tfprune.training.wrapped import drive, method_of


class Driver:
    """Prunes one model during one run.

    Args:
        model: any Keras model, built or not.
        method: prunes the model's sites; None: the settings of its wrapped layers do.
        run: its length.
        feed: data for scores that look at data; None: none.
        may_rest: whether it is no error that a quantization-aware model, whose layers keep their
            zeros themselves, has nothing to settle.
    """

    def __init__(
        self,
        model: Any,
        method: Method | None,
        run: Run,
        *,
        feed: Feed | None = None,
        may_rest: bool = False,
    ):
        self.model = model
        self.adapter = adapter_of_model(model, layers=True)
        self.method = method
        self.run = run
        self.feed = feed
        self._may_rest = may_rest
        self._rests = False
        self.settles: tuple[Settle, ...] = ()
        self.updates: tuple[Updates, ...] = ()
        self.skipped: tuple[Skip, ...] = ()
        self.wrappers: tuple = ()
        self._begin = 0
        self._noted: list[Target] = []
        self._found: list[Found] = []
        with self._scope():
            self.step = tf.Variable(
                0,
                dtype=tf.int64,
                trainable=False,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )

    @property
    def view(self) -> ModelView:
        """A look at the model now."""
        return ModelView(self.model, self.adapter)

    @property
    def found(self) -> bool:
        """Whether the sites are known already: an unbuilt model has none before its first step."""
        return bool(self.settles) or self._rests

    def require_weights(self) -> None:
        """Raise ValueError if there is nothing that could be pruned at once."""
        if self.found:
            return
        what = "model" if self.adapter.is_model(self.model) else "layer"
        if self.model.built and not self.model.weights:
            raise ValueError(
                f"The {what} {self.model.name!r} has no weights, so there is nothing to prune."
            )
        raise ValueError(
            f"The {what} {self.model.name!r} is not built, so it has no weights yet: "
            "call it on a batch first."
        )

    @property
    def finished(self) -> int:
        """Finished steps of the run, those before a resumed one included."""
        return int(self.step.numpy())  # int() alone does not take what is mirrored on replicas

    @property
    def name(self) -> str:
        """The callback whose run this is, for messages."""
        return f"PruningCallback({'' if self.method is None else repr(self.method.name)})"

    @property
    def begin(self) -> int:
        """Finished steps before this run."""
        return self._begin

    def progress(self) -> tf.Tensor:
        """Finished steps of the run as a fraction of its length, which is known: float32.

        Those of wrapped layers that a second run trains on are not counted, unless it is resumed.
        """
        done = self.step.read_value() - self._begin + self._started
        return tf.cast(done, tf.float32) / self.run.total_steps

    @property
    def targets(self) -> list[Target]:
        return [target for settle in self.settles for target in settle.targets]

    def check(self) -> None:
        """Look at the schedules before anything changes.

        Raises:
            ValueError: one needs a length that is not known, or is none.
        """
        for method in self._early():
            resolve(method.schedule, self.run)

    def start(self, step: int = 0) -> None:
        """Begin after `step` finished steps."""
        self._begin = self._started = step
        self.step.assign(step)
        self.drive(True)

    def lost(self) -> list[str]:
        """What a run that goes on does not find in the model, in words."""
        return cautions.of_resumed(self.settles, self._begin) if self._resume() else []

    def cautions(self) -> list[str]:
        """What will go wrong with the schedules in the run that was started, as far as known."""
        if self.run.total_steps is None:
            return []
        # The steps of wrapped layers go on in a second run.
        last = self.run.total_steps - self._started + self._begin
        when = f"the run ends at step {last}" if self._begin else f"the run has {last} steps"
        pairs = [(one.timetable, one.method.schedule) for one in self.settles] or [
            (resolve(one.schedule, self.run)[0], one.schedule) for one in self._early()
        ]
        return _unique_texts(
            text for pair in pairs for text in cautions.of_length(*pair, last, when)
        )

    def _early(self) -> list[Method]:
        """The methods whose schedules mean something before the sites are known."""
        return [one for one in self.methods() if not getattr(one.schedule, "counts_groups", False)]

    def find_sites(
        self, *, beside_wrapped: bool = False, without: Collection[str] = frozenset()
    ) -> None:
        """Find the sites, and plan what is settled; nothing changes yet.

        Args:
            beside_wrapped: another driver of the run prunes the wrapped layers.
            without: sites that another driver of the run prunes.

        Raises:
            ValueError: the model has no prunable weight, or is quantization-aware; a key of an
                allocation matches nothing.
        """
        view = self.view
        self._rests = self._may_rest and bool(view.all_wrappers) and not view.wrappers
        if self._rests:
            return
        refuse_pruning(view)
        self._found = self._chosen(list(view.sites), beside_wrapped)
        self.skipped = view.skipped
        self.wrappers = self._built_wrappers() if self.method is None else ()
        if not self._found:
            raise ValueError(self._nothing_to_prune())
        with self._scope():
            made = plan(view, self._found, self.method, self.run, without=without)
        self.settles, self._noted = tuple(made.settles), made.noted
        self.skipped += tuple(made.skipped)
        if not self.settles:
            raise ValueError(self._nothing_to_prune())

    def begin_sites(self) -> None:
        """Prepare the masks and make the refresh that is due before training."""
        if self.wrappers:
            self._go_on_from_wrappers()
        self._check_values()
        if self._adopters():
            self._once(self._adopt)
        self._once(self._refresh)
        self._prepare_updates(self._found)

    def open(self) -> None:
        """Before every step: the gates show the forward pass what it is to see."""
        for settle in self.settles:
            settle.open(self.step.read_value())

    def update(self) -> None:
        """Choose masks from measured scores where an update is due; not inside a compiled step.

        Raises:
            ValueError: a score needs data and there is none, or it does not fit the model.
        """
        step = self.finished if self.updates else 0
        for updates in self.updates:
            updates.update(step)

    def _prepare_updates(self, found: list[Found]) -> None:
        owners = {id(self.adapter.raw(item.variable)): item for item in found}
        self.updates = tuple(
            Updates(
                settle,
                Subject(
                    self.view,
                    tuple(
                        replace(owners[id(target.kernel)], site=target.site)
                        for target in settle.targets
                    ),
                ),
                self.feed,
                step=self._begin,
            )
            for settle in self.settles
            if settle.is_measured
        )
        if self.feed is not None and self.updates:
            self.feed.go_on_from(max(updates.batches for updates in self.updates))

    def settle(self) -> None:
        """Run after every optimizer step, inside or outside a compiled function."""
        self.step.assign_add(1)
        step = self.step.read_value()
        for settle in self.settles:
            settle(step)
        for wrapper in self.wrappers:
            self.adapter.raw(wrapper.pruning_step).assign(step)

    def note_thresholds(self) -> None:
        """Bring the wrappers' thresholds up to date: summaries read them once an epoch, and
        finding a minimum in every refresh would cost half as much as the refresh."""
        if self._noted:
            self._once(lambda: note_thresholds(self._noted))

    def finish(self) -> None:
        """Apply the masks once more: averaged or restored weights come back dense."""
        if self.found:
            self._once(self._apply)
            self.note_thresholds()
        self.drive(False)

    def drive(self, driven: bool) -> None:
        """Tell the wrapped layers, built or not, whether this run prunes them."""
        if self.method is None:
            for wrapper in self.view.wrappers:
                drive(wrapper, driven)

    def has_weights(self) -> bool:
        """Whether the sites can be found."""
        view = self.view
        return view.is_built and all(layer.built for layer in view.wrappers)

    def methods(self) -> list[Method]:
        """The methods of this run, known before the model is built."""
        if self.method is not None:
            return [self.method]
        methods: dict[str, Method] = {}
        for wrapper in self.view.wrappers:
            method = method_of(wrapper)
            methods.setdefault(repr(method), method)
        return list(methods.values())

    def _chosen(self, found: list[Found], beside_wrapped: bool) -> list[Found]:
        """With a method every site; without, the sites of the wrapped layers."""
        wrapped = [item for item in found if item.wrapper is not None]
        if self.method is None:
            return wrapped
        if beside_wrapped:
            free = [item for item in found if item.wrapper is None]
            if not free:
                raise ValueError(
                    f"{self.name} beside a PruningCallback() takes the layers that "
                    "are not wrapped for pruning, and there is none: leave it out."
                )
            return free
        if wrapped:
            raise ValueError(
                f"The layer {wrapped[0].site.layer!r} is wrapped for pruning already: use "
                "PruningCallback() without arguments, or tfprune.strip_pruning(model) first."
            )
        return found

    def _built_wrappers(self) -> tuple:
        """Those without kernels too: TF-MOT's refuse to run before their step is counted."""
        built = (one for one in self.view.wrappers if hasattr(one, "pruning_step"))
        return tuple(_unique(built))

    def _go_on_from_wrappers(self) -> None:
        """A wrapped model knows its own step: it survives saving, and a second fit goes on."""
        steps = [int(self.adapter.raw(w.pruning_step).numpy()) for w in self.wrappers]
        self._begin = max(0, *steps)
        self.step.assign(self._begin)
        for wrapper in self.wrappers:
            self.adapter.raw(wrapper.pruning_step).assign(self._begin)

    def _check_values(self) -> None:
        for target in self.targets:
            if not bool(target.kernel.is_initialized()):
                raise ValueError(
                    f"{target.site.name} is created within the first training step, where it has "
                    "no values yet: build the model before, by calling it on a batch."
                )

    def _nothing_to_prune(self) -> str:
        name = getattr(self.model, "name", self.model)
        if self.method is None:
            return (
                f"No layer of the model {name!r} is wrapped for pruning. Name a method, "
                "PruningCallback('magnitude', 0.8), which needs no wrapping; or wrap with "
                "tfprune.prune, the layers of a subclassed model in its __init__: what is put "
                "into a Keras 3 model after it was built is no part of it."
            )
        reasons = "".join(f"\n  {skip.name}: {skip.reason}" for skip in self.skipped)
        return (
            f"The model {name!r} has no weight that can be pruned. Layers that stay dense: "
            f"{reasons or 'none has weights'}"
        )

    def _resume(self) -> bool:
        return self._begin > 0 and not self.wrappers

    def _apply(self):
        step = self.step.read_value()
        for settle in self.settles:
            settle.apply(step)

    def _adopters(self) -> list[Settle]:
        """Those whose masks are the zeros there are: a run goes on, or the schedule says so."""
        return [
            settle
            for settle in self.settles
            if self._resume()
            or (not self._begin and getattr(settle.method.schedule, "adopts", False))
        ]

    def _adopt(self):
        for settle in self._adopters():
            adopt(settle.targets)

    def _refresh(self):
        step = self.step.read_value()
        for settle in self.settles:
            if self._begin == 0:
                settle.refresh_if_due(step)
            settle.apply(step)

    def _once(self, action) -> None:
        """Run an action now, on every replica."""
        strategy = self.adapter.strategy(self.model)
        if strategy.num_replicas_in_sync == 1:
            action()
        else:
            tf.function(lambda: strategy.run(action), autograph=False)()

    def _scope(self):
        strategy = self.adapter.strategy(self.model)
        return strategy.scope() if strategy.num_replicas_in_sync > 1 else contextlib.nullcontext()


def _unique(values):
    return list({id(value): value for value in values if value is not None}.values())


def _unique_texts(texts):
    return list(dict.fromkeys(texts))
