# SPDX-License-Identifier: Apache-2.0
"""`PruningCallback`: prunes a model while it trains, in both Kerases."""

from __future__ import annotations

import contextlib
import functools
from numbers import Integral
from typing import Any, Iterator

import tensorflow as tf

from tfprune.backend import view
from tfprune.masks.schedules import FixedMask
from tfprune.masks.structures import Structure
from tfprune.methods import Method
from tfprune.output.argument_checks import check_kind
from tfprune.output.caller_warning import warn
from tfprune.statistics.calibration_data import CalibrationData, Feed
from tfprune.training import run_checks
from tfprune.training.callback_base import Hooks, listed
from tfprune.training.distillation import Distillation
from tfprune.training.fit import Fit
from tfprune.training.lesson import Lesson
from tfprune.training.mask_updater import Target
from tfprune.training.method_settings import settings
from tfprune.training.report import of_run
from tfprune.training.report import sparsity as sparsity_of
from tfprune.training.run import Driver
from tfprune.training.run_length import Run


class PruningCallback(Hooks):
    """Prunes a Keras model while it trains. The masks are settled after every optimizer step.

    For any compiled model, of keras or tf_keras, functional or subclassed:

        model.fit(x, y, epochs=10, callbacks=[tfprune.PruningCallback("magnitude", 0.8)])

    Several in one `fit` prune together: each weight takes one, so all but one leave it dense, by
    `allocation=PerSite({layer: 0.0})` or since their structure cannot take it. One without
    arguments takes the wrapped layers, one beside it the others: so with N:M, which leaves no
    layer out. All give one report.

    For a model wrapped by `tfprune.prune` or `tfprune.prune_low_magnitude` (or by TF-MOT), whose
    layers know their settings: `PruningCallback()`.

    Where a method learns beside the optimizer, or stands in the forward pass, an epoch that ends
    with a loss of NaN or infinity stops the run; the weights of the epoch before come back.

    In a training loop of your own, `start` before it, `open` before and `settle` after every
    optimizer step (both inside the compiled step, if there is one), and `finish` after it.

    Args:
        method: a name out of `tfprune.list_methods()` or a Method; None for a wrapped model.
        sparsity: fraction of groups to remove, in [0, 1). Short for
            `schedule=Polynomial(sparsity)`: cubic, reached at half of the run.
        schedule: a tfprune schedule or a TF-MOT `PruningSchedule`. Steps are finished training
            steps (batches), counted from the beginning of training, `initial_epoch` included.
        structure: which weights go together; the method's own by default.
        allocation: how many each layer keeps; the method's own by default.
        data: for scores that look at data: (x, y), a data set of batches, or a
            `tfprune.CalibrationData`.
        teacher: a dense model whose outputs the pruned one learns, too, or a
            `tfprune.Distillation`; one for each `fit`. `PruningCallback(teacher=dense)` alone
            teaches a wrapped or quantization-aware model, and any other with its zeros kept.

    Attributes:
        total_steps: length of the run; set it where Keras cannot know it and the schedule needs
            it.
        report: after training, what was asked and what was reached (`tfprune.Report`).

    Raises:
        ValueError: sparsity out of range; neither sparsity nor schedule; a model without a weight
            to prune; a schedule that needs a length nobody knows; at the beginning of a run, a
            weight that another callback prunes, too.
        TypeError: something else than a method, a schedule or a Keras model.

    Example:
        >>> PruningCallback("magnitude", 0.8).method.schedule.sparsity
        0.8
    """

    def __init__(
        self,
        method: str | Method | None = None,
        sparsity: float | None = None,
        *,
        schedule: Any = None,
        structure: Structure | None = None,
        allocation: Any = None,
        data: Any = None,
        teacher: Any = None,
    ):
        super().__init__()
        asked = (method, sparsity, schedule, structure, allocation)
        self.method = None  # those of wrappers
        if any(one is not None for one in asked):
            self.method = settings(
                method, sparsity, schedule=schedule, structure=structure, allocation=allocation
            )
        self.data = CalibrationData.of(data)
        self.teacher = Distillation.of(teacher)
        self.total_steps: int | None = None
        self.report = None
        self.driver: Driver | None = None
        self._fit: Fit | None = None
        self._followers: list[PruningCallback] = []  # that prune in the fit which this one leads
        self._leader = self
        self._first_epoch = False

    # A training loop of the user's own.

    def start(
        self,
        model: Any,
        *,
        total_steps: int | None = None,
        steps_per_epoch: int | None = None,
        step: int = 0,
        teacher: Any = None,
    ) -> None:
        """Begin a run: find the sites, and prune if the schedule says so before the first step.

        Args:
            model: the model to prune.
            total_steps: length of the run, for schedules in fractions of it.
            steps_per_epoch: for schedules in epochs.
            step: finished steps, when the run is resumed.
            teacher: of this run and those after it, in place of the callback's.

        Raises:
            TypeError: no model or layer; a number of steps that is no integer.
            ValueError: a number of steps below 1; and what is wrong with model, schedule or data.
        """
        self.model = model
        self.report = None
        for name, value in (("total_steps", total_steps), ("steps_per_epoch", steps_per_epoch)):
            if value is not None:
                check_kind(name, value, Integral, "a number of steps, an integer")
                if value < 1:
                    raise ValueError(f"{name}={value}: expected at least 1.")
        self.teacher = Distillation.of(teacher) or self.teacher
        if self._fit is not None:
            self._fit.release_teacher()  # of a loop that was never finished
        run = Run(total_steps or self.total_steps, steps_per_epoch)
        self.driver = self._driver(run)
        self._fit, self._leader, self._followers = Fit(self.driver), self, []
        self._fit.lesson = self._lesson(self._fit)
        _warn(self._fit.start(step))
        if self._fit.lesson:
            self._fit.lesson.attach(around_loss=False)

    def require_targets(self) -> list[Target]:
        """The weights that the run which is on prunes.

        Raises:
            ValueError: there is none.
            RuntimeError: no run is on.
        """
        if self.driver is None:
            raise RuntimeError("PruningCallback is asked for its weights before start(model).")
        self.driver.require_weights()
        return self.driver.targets

    def open(self) -> None:
        """Show the forward pass what the gate wants it to see; once before every step.

        Gates that do not act around a step need no call of this.
        """
        if self._fit is None:
            raise RuntimeError("PruningCallback.open() before start(model): call start first.")
        self._fit.open()

    def settle(self) -> None:
        """Settle the masks; once after every optimizer step."""
        if self._fit is None:
            raise RuntimeError("PruningCallback.settle() before start(model): call start first.")
        self._fit.settle()

    def distilled(self, inputs: Any, outputs: Any, loss: Any = None) -> tf.Tensor:
        """The loss of a batch with that of the teacher: once in every step, under the tape.

        Args:
            inputs: what the model was called with; the teacher is called with it.
            outputs: what the model returned.
            loss: the mean over the batch from labels, a scalar; None: the teacher's alone.

        Returns:
            (1 - a) loss + a (T^2 KL + F), a scalar; see `tfprune.Distillation`.

        Example:
            >>> import keras, tfprune
            >>> dense = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
            >>> model = keras.models.clone_model(dense)
            >>> model.set_weights(dense.get_weights())
            >>> pruning = tfprune.PruningCallback("magnitude", 0.0)
            >>> pruning.start(model, total_steps=1, teacher=dense)
            >>> x = tf.ones([8, 4])
            >>> pruning.distilled(x, model(x), loss=3.0).numpy().item()
            1.5
        """
        if self._fit is None or self._fit.lesson is None:
            raise RuntimeError("PruningCallback.distilled() before start(model, teacher=dense).")
        return self._fit.lesson.mixed(inputs, outputs, loss)

    def update(self) -> None:
        """Choose masks from scores that are measured on the model or on data, where that is due.

        Once after every step, outside of the compiled step. Other scores are computed in
        `settle`, and this does nothing.
        """
        if self.driver is None:
            raise RuntimeError("PruningCallback.update() before start(model): call start first.")
        self.driver.update()

    def finish(self):
        """End the run: apply the masks a last time, and report. Returns the report."""
        if self._fit is None:
            raise RuntimeError("PruningCallback.finish() before start(model): call start first.")
        self._fit.finish()
        report = of_run(self._fit.drivers)
        for callback in (self, *self._followers):
            callback.report = report
        _warn(report.warnings)
        return report

    # What Keras calls.

    def set_model(self, model):
        super().set_model(model)
        run_checks.refuse_siblings(listed(self), model)

    def on_train_begin(self, logs=None):
        self.driver = self._fit = None
        self._first_epoch = False
        steps = self.params.get("steps")
        epochs = self.params.get("epochs")
        if steps == 0 or epochs == 0:
            what = "epochs=0" if epochs == 0 else "the data yields no batch"
            raise ValueError(
                f"fit would train no step, so that nothing is pruned: {what}. "
                "To prune without training take tfprune.sparsify(model, ...)."
            )
        total = self.total_steps or (steps * epochs if steps and epochs else None)
        others = listed(self)
        first = next(one for one in others if isinstance(one, PruningCallback))
        self._leader = leader = self if first._fit is None else first
        if leader is self:
            _warn(run_checks.of_siblings(others))
            self._unpatch()  # what a run left that an exception ended
            self._followers = []
        with leader._unpatched_after_errors():
            self.driver = self._driver(Run(total, steps))
            if leader is self:
                self._fit = Fit(self.driver)
                self._patch(self._fit)
            else:
                self._fit = leader._fit
                self._fit.drivers.append(self.driver)
                leader._followers.append(self)
            lesson = self._lesson(self._fit)
            if lesson:
                self._fit.lesson = lesson
                lesson.attach(around_loss=True)

    def on_epoch_begin(self, epoch, logs=None):
        if self._fit is None or not self._first_epoch:
            return
        self._first_epoch = False
        with self._unpatched_after_errors():
            self._refuse_displaced()
            _warn(self._fit.start(self._finished_steps(epoch)))
        self._fit.watch(None, "the beginning")

    def on_train_batch_end(self, batch, logs=None):
        if self.driver is not None:
            self.driver.update()

    def on_epoch_end(self, epoch, logs=None):
        if self._leader is not self or self._fit is None or not self._fit.found:
            return
        self._fit.note_thresholds()
        diverged = self._fit.watch(logs, f"the end of epoch {epoch + 1}")
        if diverged:
            _warn([diverged])
            self.model.stop_training = True
        if logs is not None:
            if any(driver.targets for driver in self._fit.drivers):
                logs["sparsity"] = sparsity_of(self._fit.drivers)
            if self._fit.lesson:
                logs.update(self._fit.lesson.log())

    def on_train_end(self, logs=None):
        leader = self._leader
        if self is [leader, *leader._followers][-1]:  # others may restore weights between them
            leader._unpatch()
            if leader._fit is not None:
                leader.finish()

    def _implements_train_batch_hooks(self) -> bool:
        """Asked by tf_keras, which spares itself the call where nobody needs it."""
        return self.method is None or self.method.rule.is_measured

    def _feed(self) -> Feed | None:
        return None if self.data is None else Feed(self.data)

    def _driver(self, run: Run) -> Driver:
        method, alone = self.method, self.method is None and self.teacher is not None
        if alone and not view(self.model, layers=True).all_wrappers:
            method = settings(None, None, schedule=FixedMask())
        driver = Driver(self.model, method, run, feed=self._feed(), may_rest=alone)
        driver.check()
        return driver

    def _lesson(self, fit: Fit) -> Lesson | None:
        if self.teacher is None or self.driver is None:
            return None
        if fit.lesson is not None:
            raise ValueError("Two PruningCallbacks of one fit have a teacher: pass it to one.")
        return Lesson(self.teacher, self.driver)

    def _finished_steps(self, epoch: int) -> int:
        if not epoch:
            return 0
        steps = self.params.get("steps")
        if steps:
            return epoch * steps
        return int(self.model.optimizer.iterations.numpy())

    def _patch(self, fit: Fit) -> None:
        """Put `settle` behind the model's own train_step."""
        fit.detach()
        self._first_epoch = True
        model = self.model
        own = vars(model).get("train_step")
        step = model.train_step

        @tf.autograph.experimental.do_not_convert
        @functools.wraps(step)
        def train_step(data):
            with self._unpatched_after_errors():
                fit.prepare(data)
                fit.open()
                with fit.lesson.within_step() if fit.lesson else contextlib.nullcontext():
                    result = step(data)
                fit.settle()
            return result

        train_step.tfprune_own = own
        train_step.tfprune_fit = fit
        model.train_step = train_step
        model.make_train_function(force=True)
        fit.adapter.build_step(model)

    def _refuse_displaced(self) -> None:
        """Callbacks that are not in the list that Keras calls cannot find each other."""
        patched = vars(self.model).get("train_step")
        if getattr(patched, "tfprune_fit", self._fit) is not self._fit:
            raise ValueError(
                "Two PruningCallbacks in one fit, of which one is not in its list: pass both "
                "themselves, model.fit(..., callbacks=[first, second])."
            )

    @contextlib.contextmanager
    def _unpatched_after_errors(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._unpatch()
            raise

    def _unpatch(self) -> None:
        """Give the model its own train_step back; also after a run that an exception ended."""
        patched = vars(self.model).get("train_step")
        if not hasattr(patched, "tfprune_own"):
            return
        patched.tfprune_fit.release_teacher()
        if patched.tfprune_own is None:
            del self.model.train_step
        else:
            self.model.train_step = patched.tfprune_own
        with tf.init_scope():
            self.model.make_train_function(force=True)


def _warn(texts: Any) -> None:
    for text in texts:
        warn(text)
