# SPDX-License-Identifier: Apache-2.0
"""Drives pruning through one training run: finds the sites, settles after every step, reports."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import tensorflow as tf

from tfprune import cautions, standing
from tfprune.adapters import adapter_of_model
from tfprune.adapters.walk import Found, find, wrappers
from tfprune.batches import Feed
from tfprune.gates import Gate
from tfprune.guard import Guard
from tfprune.methods.base import Method
from tfprune.optimizer_hook import OptimizerHook
from tfprune.plans import plan
from tfprune.quantized.notes import refuse as refuse_quantized
from tfprune.runs import Run, resolve
from tfprune.settle import Settle, Target, adopt, note_thresholds
from tfprune.sites import Skip
from tfprune.statistics.subject import Subject
from tfprune.updates import Updates


class Driver:
    """Prunes one model during one run.

    Args:
        model: any Keras model, built or not.
        method: prunes the model's sites; None: the settings of its wrapped layers do.
        run: its length.
        feed: data for scores that look at data; None: none.
    """

    def __init__(self, model: Any, method: Method | None, run: Run, *, feed: Feed | None = None):
        self.model = model
        self.adapter = adapter_of_model(model, layers=True)
        self.method = method
        self.run = run
        self.feed = feed
        self.settles: tuple[Settle, ...] = ()
        self.updates: tuple[Updates, ...] = ()
        self.skipped: tuple[Skip, ...] = ()
        self.wrappers: tuple = ()
        self._begin = 0
        self._noted: list[Target] = []
        self._hook: OptimizerHook | None = None
        self._guard: Guard | None = None
        with self._scope():
            self.step = tf.Variable(
                0, dtype=tf.int64, trainable=False,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )

    @property
    def found(self) -> bool:
        """Whether the sites are known already: an unbuilt model has none before its first step."""
        return bool(self.settles)

    def require_weights(self) -> None:
        """Raise ValueError if there is nothing that could be pruned at once."""
        if self.found:
            return
        what = "model" if self.adapter.is_model(self.model) else "layer"
        if self.model.built and not self.model.weights:
            raise ValueError(f"The {what} {self.model.name!r} has no weights, so there is nothing "
                             "to prune.")
        raise ValueError(f"The {what} {self.model.name!r} is not built, so it has no weights yet: "
                         "call it on a batch first.")

    @property
    def finished(self) -> int:
        """Finished steps of the run, those before a resumed one included."""
        return int(self.step.numpy())  # int() alone does not take what is mirrored on replicas

    @property
    def begin(self) -> int:
        """Finished steps before this run."""
        return self._begin

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

    def start(self, step: int = 0) -> list[str]:
        """Begin after `step` finished steps; the zeros of a resumed model are its masks.

        Returns:
            What will go wrong with the schedules, as far as it is known.
        """
        self._begin = step
        self.step.assign(step)
        self._drive(True)
        if self._has_weights():
            self.find_sites()
            self.update()
        return self._cautions(step)

    def _cautions(self, step: int) -> list[str]:
        if self.run.total_steps is None:
            return []
        # The steps of wrapped layers go on in a second run.
        last = self.run.total_steps - step + self._begin
        when = f"the run ends at step {last}" if self._begin else f"the run has {last} steps"
        pairs = [(one.timetable, one.method.schedule) for one in self.settles] or [
            (resolve(one.schedule, self.run)[0], one.schedule) for one in self._early()]
        return _unique_texts(
            text for pair in pairs for text in cautions.of_length(*pair, last, when))

    def _early(self) -> list[Method]:
        """The methods whose schedules mean something before the sites are known."""
        return [one for one in self._methods()
                if not getattr(one.schedule, "counts_groups", False)]

    def prepare(self, data: Any) -> None:
        """Before the first step of an unbuilt model is traced: build it, if that can be done.

        Args:
            data: what `train_step` is given.
        """
        if not self.found:
            self._drive(True)
            self.adapter.build(self.model, data)
            if self._has_weights():
                self.find_sites()

    def find_sites(self) -> None:
        """Find the sites, prepare their masks and make the refresh that is due before training.

        Raises:
            ValueError: the model has no prunable weight, or is quantization-aware; a key of an
                allocation matches nothing.
        """
        refuse_quantized(self.model, self.adapter)
        with tf.init_scope():
            found, skipped = find(self.model, self.adapter)
            found = self._chosen(found)
            self.skipped = tuple(skipped)
            self.wrappers = self._built_wrappers() if self.method is None else ()
            if not found:
                raise ValueError(self._nothing_to_prune())
            standing.begin(self.model, self.adapter, self.method)
            if self.wrappers:
                self._go_on_from_wrappers()
            with self._scope():
                made = plan(found, self.method, self.model, self.run)
            self.settles, self._noted = tuple(made.settles), made.noted
            self.skipped += tuple(made.skipped)
            if not self.settles:
                raise ValueError(self._nothing_to_prune())
            self._check_values()
            if self._adopters():
                self._once(self._adopt)
            self._once(self._refresh)
            self._prepare_updates(found)

    def watch(self, logs: dict[str, Any] | None, when: str) -> str | None:
        """Keep the weights of this moment; if the run has diverged, give the last good ones back.

        Only where a gate learns beside the optimizer, hides weights from the user, who could not
        save them, or stands in the model.

        Args:
            logs: of Keras; None: before the first step.
            when: the moment in words.

        Returns:
            What to say of a run that diverged, and is to be stopped; None: all is well.
        """
        gates = [one.gate for one in self._methods()]
        if not self.found or not any(
                one.acts or one.hides or isinstance(one, standing.Standing) for one in gates):
            return None
        if self._guard is None:
            kept = [value for target in self.targets for value in tf.nest.flatten(target.variables)]
            weights = [self.adapter.raw(one) for one in self.model.weights]
            self._guard = Guard([one for one in (*weights, *kept) if one is not None])
        loss = self._guard.diverged(logs)
        if loss is not None:
            return self._guard.restore(f"The loss is {loss}")
        if not self._guard.keep(when) and logs is not None:  # ReLU turns NaN into 0
            return self._guard.restore("Weights are not finite, though the loss is")
        return None

    def _acting(self) -> list[Gate]:
        return [one.gate for one in self._methods() if one.gate.acts]

    def detach(self) -> None:
        """Give the optimizer its own updates back; also after a run that an exception ended."""
        optimizer = self.adapter.innermost_optimizer(self.model)
        if optimizer is not None:
            self.adapter.release_updates(optimizer)

    def open(self) -> None:
        """Run before every step: the gates show the forward pass what it is to see.

        Raises:
            ValueError: the model is not built, so nothing can be shown.
        """
        acting = self._acting()
        if acting and not self.found:
            raise ValueError(
                f"{acting[0]} acts around the first training step already, but the model "
                f"{self.model.name!r} is not built: call it on a batch before."
            )
        if acting and self._hook is None:
            self._hook = OptimizerHook(
                [one for one in self.settles if one.method.gate.acts], self.adapter, self.step)
            self._hook.attach(self.model)
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
            Updates(settle, Subject(self.model, self.adapter, tuple(
                replace(owners[id(target.kernel)], site=target.site) for target in settle.targets
            )), self.feed, step=self._begin)
            for settle in self.settles if settle.is_measured
        )

    def settle(self) -> None:
        """Run after every optimizer step, inside or outside a compiled function."""
        if not self.found:
            self.find_sites()
        if self._acting() and not (self._hook and self._hook.has_run):
            raise ValueError(
                f"{self._acting()[0]} acts on the optimizer's updates of pruned weights, but the "
                "training step made none with the optimizer that the model was compiled with: "
                "use that one, and in a loop of your own call open() before every step."
            )
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
            standing.finish(self.model, self.adapter)
            self._once(self._apply)
            self.note_thresholds()
        self.detach()
        self._drive(False)

    def _drive(self, driven: bool) -> None:
        """Tell the wrapped layers, built or not, whether this run prunes them."""
        if self.method is None:
            for wrapper in wrappers(self.model, self.adapter):
                self.adapter.drive(wrapper, driven)

    def _has_weights(self) -> bool:
        layers = wrappers(self.model, self.adapter)
        return self.adapter.is_built(self.model) and all(layer.built for layer in layers)

    def _methods(self) -> list[Method]:
        """The methods of this run, known before the model is built."""
        if self.method is not None:
            return [self.method]
        methods = {}
        for wrapper in wrappers(self.model, self.adapter):
            method = self.adapter.method_of(wrapper)
            methods.setdefault(repr(method), method)
        return list(methods.values())

    def _chosen(self, found: list[Found]) -> list[Found]:
        """With a method every site; without, the sites of the wrapped layers."""
        wrapped = [item for item in found if item.wrapper is not None]
        if self.method is None:
            return wrapped
        if wrapped:
            raise ValueError(
                f"The layer {wrapped[0].site.layer!r} is wrapped for pruning already: use "
                "PruningCallback() without arguments, or tfprune.strip_pruning(model) first."
            )
        return found

    def _built_wrappers(self) -> tuple:
        """Those without kernels too: TF-MOT's refuse to run before their step is counted."""
        all_of_them = wrappers(self.model, self.adapter)
        return tuple(_unique(one for one in all_of_them if hasattr(one, "pruning_step")))

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
        """Those whose masks are the zeros there are: where a run goes on, or the schedule says so.
        """
        return [settle for settle in self.settles
                if self._resume() or getattr(settle.method.schedule, "adopts", False)]

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
        """Run an action now, compiled, on every replica."""
        strategy = self.adapter.strategy(self.model)
        if strategy.num_replicas_in_sync == 1:
            tf.function(action, autograph=False)()
        else:
            tf.function(lambda: strategy.run(action), autograph=False)()

    def _scope(self):
        strategy = self.adapter.strategy(self.model)
        return strategy.scope() if strategy.num_replicas_in_sync > 1 else contextlib.nullcontext()


def _unique(values):
    return list({id(value): value for value in values if value is not None}.values())


def _unique_texts(texts):
    return list(dict.fromkeys(texts))
