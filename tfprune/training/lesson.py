# SPDX-License-Identifier: Apache-2.0
"""What a teacher adds to the loss of one training run."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import threading
from typing import Any, Iterator

import tensorflow as tf

from tfprune.backend import view
from tfprune.backend.model_view import ModelView
from tfprune.backend.substitute import Change, around, replaced
from tfprune.training.distillation import Distillation, soft_loss, weighted_mean
from tfprune.training.output_kind import OutputKind
from tfprune.training.run import Driver


class Lesson:
    """A teacher in one run of a model.

    While it is attached, it hears what the layers of `features` return. In a `fit` it stands
    around `compute_loss`, but acts within a training step only, so that evaluation is as without.

    Args:
        settings: the teacher, and how it teaches.
        driver: of the run.

    Raises:
        TypeError: the teacher is of the other Keras.
        ValueError: it is the model itself, or shares weights with it; there are several outputs;
            a layer of `features` is not there; the share moves, and the length of the run is not
            known.
    """

    def __init__(self, settings: Distillation, driver: Driver):
        self.settings, self.driver = settings, driver
        self.student = driver.view
        self.teacher = view(settings.teacher)
        self._check()
        self._pairs = {
            (name, other): (_layer(self.student, name, "network"), _layer(self.teacher, other))
            for name, other in settings.features.items()
        }
        self._attached = contextlib.ExitStack()
        self._here = threading.local()  # replicas are traced in threads of their own
        self._heard = False
        with self.student.backend.strategy(driver.model).scope():
            self._mean = self.student.backend.keras.metrics.Mean(name="distillation")

    def attach(self, around_loss: bool) -> None:
        """Listen to the layers, and stand around `compute_loss` if there is a `fit`."""
        self.detach()
        changes = [self._listening(one) for pair in self._pairs.values() for one in pair]
        if around_loss:
            changes.append(self._around_loss())
            changes += self.student.backend.without_labels(self.driver.model)
        self._attached.enter_context(replaced(changes))

    def detach(self) -> None:
        """Give model and teacher their own methods back; once more changes nothing."""
        self._attached.close()

    @contextlib.contextmanager
    def within_step(self) -> Iterator[None]:
        """The time of one training step of a `fit`.

        Raises:
            ValueError: at its end, the step has not computed its loss where it can be mixed.
        """
        self._here.seen, self._here.acts = {}, True
        try:
            yield
        finally:
            self._here.acts = False
        if not self._heard:
            name = type(self.driver.model).__name__
            raise ValueError(
                f"train_step of {name} computes its loss without self.compute_loss, so that no "
                "teacher can be heard: write loss = self.compute_loss(x, y, y_pred, "
                "sample_weight) there, or leave the teacher out."
            )

    def require_heard(self) -> None:
        """Raise ValueError if a step is over in which nobody has asked the teacher."""
        if not self._heard:
            raise ValueError(
                "The teacher was not asked in the training step: write loss = "
                "pruning.distilled(x, outputs, loss) before the gradients are taken."
            )

    def log(self) -> dict[str, float]:
        """The mean of the soft loss since this was last asked, under "distillation"."""
        value = float(self._mean.result())
        self._mean.reset_state()
        return {"distillation": value}

    def share(self) -> Any:
        """The share of the soft loss now: a number or a scalar tensor."""
        course = self.settings.course
        if course.begin == course.end:
            return course.begin
        return course.at(self.driver.progress())

    def soft(self, inputs: Any, outputs: Any, weights: Any = None) -> tf.Tensor:
        """The soft loss of one batch and what the features add: a scalar, the mean over it.

        Args:
            inputs: what the model was called with.
            outputs: what it returned.
            weights: sample weights; None: all 1.
        """
        self._heard = True
        teacher, student = self.teacher, self.student
        output = self._only(outputs, student)
        if isinstance(weights, (list, tuple, dict)):
            weights = self._only(weights, student)
        taught = self._only(self._ask(inputs), teacher)
        if not taught.shape.is_compatible_with(output.shape):
            raise ValueError(
                f"The teacher {teacher.model.name!r} returns {_shaped(taught)}, the model "
                f"{student.model.name!r} {_shaped(output)}: expected outputs of one shape."
            )
        teaches, learns = self._kind(teacher), self._kind(student)
        is_binary = _is_binary(teaches, learns, output)
        known = student.backend.known_logits
        losses = soft_loss(
            teaches.logits(taught, is_binary, known(taught)),
            learns.logits(output, is_binary, known(output)),
            self.settings.temperature,
            is_binary,
        )
        value = weighted_mean(losses, weights, student.backend.known_mask(output))
        value += self._features()
        self._mean.update_state(value, sample_weight=tf.shape(output)[0])
        return value

    def mixed(self, inputs: Any, outputs: Any, loss: Any) -> tf.Tensor:
        """The loss of a loop of the user's own; the soft one alone where there is none."""
        soft = self.soft(inputs, outputs)
        if loss is None:
            return soft
        share = self.share()
        return (1 - share) * tf.cast(loss, tf.float32) + share * soft

    def _check(self) -> None:
        teacher, student = self.teacher, self.student
        name = teacher.model.name
        if teacher.backend is not student.backend:
            raise TypeError(
                f"The teacher {name!r} is a model of {teacher.backend.NAME}, the one that is "
                f"trained of {student.backend.NAME}: both must be of one Keras."
            )
        raw = student.backend.raw
        own = student.model.trainable_variables if student.is_built else ()
        trained = {id(raw(one)): getattr(one, "path", one.name) for one in own}
        shared = [trained[id(raw(one))] for one in teacher.model.weights if id(raw(one)) in trained]
        if teacher.model is student.model or shared:
            what = "is the model that is trained"
            if teacher.model is not student.model:
                what = f"shares {shared[0]} with the model that is trained"
            clone = f"{student.backend.NAME}.models.clone_model(model)"
            raise ValueError(
                f"The teacher {name!r} {what}, so it would change with it (tfprune.prune and "
                "quantize_aware wrap the layers of a model, they do not copy them). Copy it "
                f"before: teacher = {clone}; teacher.set_weights(model.get_weights())."
            )
        for one in (teacher, student):
            if len(one.backend.output_names(one.model) or "1") != 1:
                raise _several(one)
        course = self.settings.course
        if course.begin != course.end and self.driver.run.total_steps is None:
            raise ValueError(
                f"share={self.settings.share} moves over the run, whose length nobody knows: pass "
                "steps_per_epoch to fit, total_steps to start, or set total_steps of the callback."
            )

    def _kind(self, one: ModelView) -> OutputKind:
        kind = OutputKind.of(one)
        given = self.settings.from_logits
        if given is None:
            return kind
        return dataclasses.replace(kind, function=None, takes_logits=bool(given))

    def _ask(self, inputs: Any) -> Any:
        teacher = self.teacher.model
        try:
            return teacher(inputs, training=False)
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            raise ValueError(
                f"The teacher {teacher.name!r} cannot take the batches on which "
                f"{self.student.model.name!r} is trained. {error}"
            ) from error

    def _only(self, outputs: Any, one: ModelView) -> tf.Tensor:
        found = tf.nest.flatten(outputs)
        if len(found) != 1:
            raise _several(one)
        return found[0]

    def _features(self) -> Any:
        """The sum over the pairs of mean squared differences."""
        total = 0.0
        for names, layers in self._pairs.items():
            values = [self._seen.pop(id(layer), None) for layer in layers]
            if any(one is None or not hasattr(one, "shape") for one in values):
                raise ValueError(
                    f"The layers {names[0]!r} and {names[1]!r} of features were not both called in "
                    "the training step, or return more than one tensor: take others."
                )
            own, taught = (tf.cast(one, tf.float32) for one in values)
            if not own.shape.is_compatible_with(taught.shape):
                raise ValueError(
                    f"The layer {names[0]!r} returns {_shaped(own)}, the teacher's {names[1]!r} "
                    f"{_shaped(taught)}: features are compared entry by entry. Take layers of one "
                    "shape, after shrinking those whose channels have stayed."
                )
            total += tf.reduce_mean(tf.math.squared_difference(own, tf.stop_gradient(taught)))
        return total

    @property
    def _seen(self) -> dict[int, Any]:
        """What the layers of features returned last, by their ids."""
        if not hasattr(self._here, "seen"):
            self._here.seen = {}
        return self._here.seen

    def _listening(self, layer: Any) -> Change:
        def forward(call, *args, **kwargs):
            outputs = call(*args, **kwargs)
            self._seen[id(layer)] = outputs
            return outputs

        return around(layer, forward)

    def _around_loss(self) -> Change:
        model, backend = self.driver.model, self.student.backend
        own = model.compute_loss
        signature = inspect.signature(own)

        @tf.autograph.experimental.do_not_convert
        def compute_loss(*args, **kwargs):
            if not getattr(self._here, "acts", False):
                return own(*args, **kwargs)
            given = signature.bind(*args, **kwargs).arguments
            if given.get("x") is None or given.get("y_pred") is None:
                raise ValueError(
                    f"train_step of {type(model).__name__} calls compute_loss without x or without "
                    "y_pred, so that the teacher does not know what the model has seen: write "
                    "self.compute_loss(x, y, y_pred, sample_weight)."
                )
            soft = self.soft(given["x"], given["y_pred"], given.get("sample_weight"))
            share = self.share()
            with backend.mixed_loss(model, share, soft) as heard:
                total = own(*args, **kwargs)
            # A compute_loss of the user's own may know no compiled loss.
            return total if heard else (1 - share) * total + share * soft

        return model, "compute_loss", compute_loss


def _layer(within: ModelView, name: str, whose: str = "teacher") -> Any:
    """The layer that a name or a path of `features` means.

    Raises:
        ValueError: none, or several.
    """
    held = {
        id(one.layer): one for one in within.below if name in (one.path, one.layer.name)
    }.values()
    if len(held) == 1:
        return next(iter(held)).layer
    if held:
        said = f"several layers {name!r}: say {' or '.join(repr(one.path) for one in held)}"
    else:
        said = f"no layer {name!r}; it has {', '.join(within.paths.values())}"
    raise ValueError(f"features: the {whose} {within.model.name!r} has {said}.")


def _is_binary(teacher: OutputKind, student: OutputKind, output: tf.Tensor) -> bool:
    if output.shape[-1] == 1:
        return True
    told = {one.is_binary for one in (teacher, student)} - {None}
    if len(told) > 1:
        labels, classes = (teacher, student) if teacher.is_binary else (student, teacher)
        raise ValueError(
            f"The outputs of {labels.name!r} are labels of their own (a sigmoid or a binary loss), "
            f"those of {classes.name!r} one class of several: teacher and network must agree."
        )
    return True in told


def _several(one: ModelView) -> ValueError:
    return ValueError(
        f"{one.model.name!r} has several outputs, and a teacher teaches one: train with a model of "
        "that output, keras.Model(inputs, output), which shares the layers."
    )


def _shaped(tensor: tf.Tensor) -> str:
    return "x".join("?" if one is None else str(one) for one in tensor.shape)
