# SPDX-License-Identifier: Apache-2.0
"""One training run of a model, with all that prunes in it: each weight has one driver."""

from __future__ import annotations

from typing import Any, Sequence
from weakref import WeakValueDictionary

import tensorflow as tf

from tfprune.masks.sites import Site
from tfprune.training import model_hooks
from tfprune.training.divergence import Guard
from tfprune.training.lesson import Lesson
from tfprune.training.mask_updater import Settle, Target
from tfprune.training.optimizer_hook import OptimizerHook
from tfprune.training.run import Driver

_OWNERS: WeakValueDictionary[int, "Fit"] = WeakValueDictionary()
"""The run in which each kernel is pruned, by the kernel's id: the one that was started last."""


class Fit:
    """A run: one `model.fit`, or one loop of the user's own.

    Args:
        drivers: what prunes the model in it, one for each callback.

    Attributes:
        lesson: of a teacher; None: there is none.

    Raises:
        ValueError: when the sites are known: two drivers prune one weight, or one driver none.
    """

    def __init__(self, *drivers: Driver):
        self.drivers = list(drivers)
        self.model = drivers[0].model
        self.adapter = drivers[0].adapter
        self._hook: OptimizerHook | None = None
        self._guard: Guard | None = None
        self.lesson: Lesson | None = None

    @property
    def found(self) -> bool:
        """Whether the sites are known already: an unbuilt model has none before its first step."""
        return all(driver.found for driver in self.drivers)

    def start(self, step: int = 0) -> list[str]:
        """Begin after `step` finished steps; the zeros of a resumed model are its masks.

        Returns:
            What will go wrong with the schedules, and what a run that goes on has lost, as far as
            it is known.
        """
        for driver in self.drivers:
            driver.start(step)
        if all(driver.has_weights() for driver in self.drivers):
            self._find_sites()
            for driver in self.drivers:
                driver.update()
        return [text for driver in self.drivers for text in (*driver.lost(), *driver.cautions())]

    def prepare(self, data: Any) -> None:
        """Before the first step of an unbuilt model is traced: build it, if that can be done.

        Args:
            data: what `train_step` is given.
        """
        if not self.found:
            for driver in self.drivers:
                driver.drive(True)
            self.adapter.build(self.model, data)
            if all(driver.has_weights() for driver in self.drivers):
                self._find_sites()

    def open(self) -> None:
        """Run before every step: the gates show the forward pass what it is to see.

        Raises:
            ValueError: the model is not built, so nothing can be shown.
        """
        self._refuse_lost()
        acting = self._acting()
        if acting and not self.found:
            raise ValueError(
                f"{acting[0]} acts around the first training step already, but the model "
                f"{self.model.name!r} is not built: call it on a batch before."
            )
        if acting and self._hook is None:
            pairs = [(settle, driver.step) for driver in self.drivers for settle in driver.settles]
            self._hook = OptimizerHook(
                [pair for pair in pairs if pair[0].method.gate.acts], self.adapter
            )
            self._hook.attach(self.model)
        for driver in self.drivers:
            driver.open()

    def settle(self) -> None:
        """Run after every optimizer step, inside or outside a compiled function."""
        if not self.found:
            self._find_sites()
        self._refuse_lost()
        if self._hook and not self._hook.is_attached:
            raise ValueError(
                f"{self._acting()[0]} acts on the optimizer's updates, but another PruningCallback "
                "has taken its place there: two of them can act in one model.fit, but not in a "
                "loop of your own."
            )
        if self._acting() and not (self._hook and self._hook.has_run):
            raise ValueError(
                f"{self._acting()[0]} acts on the optimizer's updates of pruned weights, but the "
                "training step made none with the optimizer that the model was compiled with: "
                "use that one, and in a loop of your own call open() before every step."
            )
        if self.lesson:
            self.lesson.require_heard()
        for driver in self.drivers:
            driver.settle()

    def note_thresholds(self) -> None:
        """Bring the wrappers' thresholds up to date: summaries read them once an epoch."""
        for driver in self.drivers:
            driver.note_thresholds()

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
        gates = [one.gate for driver in self.drivers for one in driver.methods()]
        if not self.found or not any(one.acts or one.hides or one.hooks for one in gates):
            return None
        if self._guard is None:
            kept = [
                value
                for driver in self.drivers
                for target in driver.targets
                for value in tf.nest.flatten(target.variables)
            ]
            weights = [self.adapter.raw(one) for one in self.model.weights]
            self._guard = Guard([one for one in (*weights, *kept) if one is not None])
        loss = self._guard.diverged(logs)
        if loss is not None:
            return self._guard.restore(f"The loss is {loss}")
        if not self._guard.keep(when) and logs is not None:  # ReLU turns NaN into 0
            return self._guard.restore("Weights are not finite, though the loss is")
        return None

    def detach(self) -> None:
        """Give the optimizer its own updates back; also after a run that an exception ended."""
        optimizer = self.adapter.innermost_optimizer(self.model)
        if optimizer is not None:
            self.adapter.release_updates(optimizer)

    def release_teacher(self) -> None:
        """Give model and teacher their own methods back."""
        if self.lesson:
            self.lesson.detach()

    def finish(self) -> None:
        """Apply the masks once more: averaged or restored weights come back dense."""
        self._refuse_lost()
        if self.found:
            model_hooks.finish(self.drivers[0].view)
        for driver in self.drivers:
            driver.finish()
        for target in self._pruned():
            _OWNERS.pop(id(target.kernel), None)
        self.release_teacher()
        self.detach()

    def _acting(self) -> list[Any]:
        return [one.gate for driver in self.drivers for one in driver.methods() if one.gate.acts]

    def _find_sites(self) -> None:
        with tf.init_scope():
            wrapped = any(driver.method is None for driver in self.drivers)
            for driver in self.drivers:
                driver.find_sites(beside_wrapped=wrapped and len(self.drivers) > 1)
            self._share_out()
            own = [driver.method for driver in self.drivers if driver.method is not None]
            model_hooks.begin(self.drivers[0].view, own)
            for driver in self.drivers:
                driver.begin_sites()
            _OWNERS.update({id(target.kernel): self for target in self._pruned()})

    def _pruned(self) -> list[Target]:
        """The sites of this run but for those that it leaves dense, which another may prune."""
        return [
            target
            for driver in self.drivers
            for settle in driver.settles
            for target in settle.pruned
        ]

    def _share_out(self) -> None:
        """Each weight to the one driver that prunes it; a driver that leaves it dense yields."""
        takers: dict[int, list[tuple[Driver, Settle, Site]]] = {}
        pruned = {
            (id(settle), target.site.name)
            for driver in self.drivers
            for settle in driver.settles
            for target in settle.pruned
        }
        for driver in self.drivers:
            for settle in driver.settles:
                for target in settle.targets:
                    takers.setdefault(id(target.kernel), []).append((driver, settle, target.site))
        yields: dict[int, set[str]] = {id(driver): set() for driver in self.drivers}
        disputed = []
        for several in (each for each in takers.values() if len(each) > 1):
            pruning = [each for each in several if (id(each[1]), each[2].name) in pruned]
            if len(pruning) > 1:
                disputed.append(pruning)
            keeper = (pruning or several)[0][0]
            for driver, _, site in several:
                if driver is not keeper:
                    yields[id(driver)].add(site.name)
        if disputed:
            raise ValueError(_dispute(disputed))
        for driver in self.drivers:
            if yields[id(driver)]:
                driver.find_sites(beside_wrapped=True, without=yields[id(driver)])

    def _refuse_lost(self) -> None:
        for target in self._pruned():
            if _OWNERS.get(id(target.kernel), self) is not self:
                names = " and ".join(driver.name for driver in self.drivers)
                raise ValueError(
                    f"{names} no longer prunes {target.site.name}: another PruningCallback was "
                    "started for the same weight. One weight takes one; leave it dense in the "
                    f"other, {_dense(target.site)}, or finish() this one before."
                )


def _dispute(disputed: Sequence[Sequence[tuple[Driver, Settle, Site]]]) -> str:
    site = disputed[0][0][2]
    names = [each[0][2].name for each in disputed]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    callbacks = " and ".join(driver.name for driver, *_ in disputed[0])
    apart = f"leave a layer dense in all but one, {_dense(site)}"
    for structure in [settle.method.rule.structure for _, settle, _ in disputed[0]]:
        if structure.fixed is not None:  # it leaves no layer out
            apart = (
                f"wrap the layers of {structure} with tfprune.prune and pass "
                "PruningCallback() for them beside the other"
            )
    return (
        f"{callbacks} of this fit prune the same weights: {', '.join(names[:5])}{more}. One weight "
        f"takes one: pass one callback only, or {apart}."
    )


def _dense(site: Site) -> str:
    return f"allocation=tfprune.PerSite({{{site.layer!r}: 0.0}})"
