# SPDX-License-Identifier: Apache-2.0
"""The one operation that runs after every optimizer step, for all sites at once.

    W = kernel + hidden ;  M = mask(W) if a refresh is due ;  kernel <- W*M, or what the gate makes
    of it ;  hidden <- W - kernel

So the forward pass sees W*M, and the model is sparse whenever anybody looks at it between two
training steps. It compiles into the training step, also under XLA, in a loop of several steps and
on several replicas. Masks are chosen by NumPy, between two operations of the compiled step, so that
its graph does not grow with the shapes of the sites; under XLA, which calls nobody, in the graph.

Where whole channels are masked, all that belongs to them is zero, too: biases, betas, gammas and
means. Where the gate lets masked channels return, that waits for the last masks: a channel whose
gamma and beta are zero learns nothing and could not return.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any, Callable, Sequence

import tensorflow as tf

from tfprune.masks.array_namespace import array
from tfprune.masks.select import threshold
from tfprune.masks.select_tf import is_compiled
from tfprune.masks.sites import Coupled, Follower, Site, is_coupled
from tfprune.methods.base import Method
from tfprune.methods.gates import Moment, RowsFrom
from tfprune.methods.update import State
from tfprune.training import in_place
from tfprune.training.channel_followers import Following
from tfprune.training.host_call import HostCalls


@dataclass(frozen=True)
class Target:
    """One site with its variables.

    Attributes:
        site: what is pruned.
        kernel: the weight, sparse at rest.
        mask: True = keep, in the weight's shape; in a wrapper 1 = keep, in the weight's dtype.
        hidden: what the gate keeps of the pruned weights; None if it keeps nothing.
        threshold: smallest kept magnitude, for TF-MOT's summaries; None if nobody asks for it.
        state: the numbers that the method keeps for this site, under their names.
    """

    site: Site
    kernel: tf.Variable
    mask: tf.Variable
    hidden: tf.Variable | None = None
    threshold: tf.Variable | None = None
    state: dict[str, tf.Variable] = field(default_factory=dict)

    @property
    def variables(self) -> tuple:
        return (self.kernel, self.mask, self.hidden, self.threshold, self.state)


class Settle:
    """Settle some sites under one method.

    Args:
        targets: the sites, in the model's order.
        method: the rule and the gate.
        timetable: `step -> (due, sparsity)` in TensorFlow ops: a resolved schedule or an object
            like TF-MOT's; None where masks are only applied.
        final: the last sparsity of the run.
        followers: what is zero with the channels that the sites make together.
        in_place: whether passes over large kernels are compiled by themselves; not for what is
            saved with a model.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        method: Method,
        *,
        timetable: Any,
        final: float,
        followers: Sequence[Follower] = (),
        in_place: bool = False,
    ):
        self.targets = tuple(targets)
        self.method = method
        self.timetable = timetable
        self.final = final
        self._in_place = in_place
        self.following = (
            Following(followers, [target.site for target in self.targets], method.rule.structure)
            if followers
            else None
        )

    def __call__(self, step: tf.Tensor) -> None:
        """Settle after `step` finished steps; inside a replica or without replicas."""
        self.refresh_if_due(step)
        gate, changed = self.method.gate, True
        if gate.hides and not gate.opens:
            changed = tf.constant(False) if self.is_measured else self.timetable(step)[0]
        self.apply(step, changed)

    @functools.cached_property
    def _on_host(self) -> HostCalls:
        return HostCalls()

    @functools.cached_property
    def pruned(self) -> list[Target]:
        """The targets but for those that stay dense, which something else may prune."""
        rule, sites = self.method.rule, [target.site for target in self.targets]
        dense = rule.allocation.leaves_dense
        if not is_coupled(sites):
            return [target for target in self.targets if not dense(target.site)]
        filters = [rule.structure.groups(site.shape, site.layout) for site in sites]
        units = Coupled.of(sites, filters).units
        pruned = {index for unit in units if not dense(unit.site) for index, _ in unit.parts}
        return [target for index, target in enumerate(self.targets) if index in pruned]

    @property
    def is_measured(self) -> bool:
        """Whether masks are chosen between two steps: see `tfprune.training.measured_update`."""
        return self.method.rule.is_measured

    def open(self, step: tf.Tensor) -> None:
        """Before a step: show the forward pass what the gate wants it to see."""
        if self.method.gate.opens:
            _everywhere(self._open, self._variables(), tf.convert_to_tensor(step))

    def refresh_if_due(self, step: tf.Tensor) -> None:
        """Choose the masks anew where the timetable says so, if the weights tell enough."""
        if self.is_measured:
            return
        _everywhere(self._refresh_if_due, self._variables(), tf.convert_to_tensor(step))

    def apply(self, step: Any = None, changed: Any = True) -> None:
        """kernel <- what rests of W, hidden <- W - kernel; then what belongs to masked channels.

        Args:
            step: finished steps; None: outside of a run.
            changed: whether something may be hidden that the mask keeps, a bool or a tensor of one.
        """
        _everywhere(self._apply, self._variables(), tf.convert_to_tensor(changed))
        if self.following is not None and step is not None:
            _everywhere(
                self._follow,
                self._variables(),
                self.following.variables,
                tf.convert_to_tensor(step),
            )

    def note_masks(self) -> None:
        """Let the gate note what follows from masks that were just chosen."""
        _everywhere(self._note_masks, self._variables())

    def _variables(self) -> list[tuple]:
        return [target.variables for target in self.targets]

    def _refresh_if_due(self, variables, step):
        due, sparsity = self.timetable(step)

        def refresh():
            if is_compiled():
                self._refresh(variables, sparsity, step)
            else:
                self._on_host(self._refresh, variables, sparsity, step)
            return tf.constant(True)

        tf.cond(due, refresh, lambda: tf.constant(False))

    def _refresh(self, variables, sparsity, step):
        read = array if tf.executing_eagerly() else _read
        now = self.state(variables, sparsity, step, read=read)
        update = self.method.rule.update(now)
        made = zip(variables, now.weights, update.masks, update.state, strict=True)
        for (_, mask, _, lowest, state), weight, chosen, changes in made:
            write_state(state, changes)
            mask.assign(tf.cast(chosen, mask.dtype), read_value=False)
            if lowest is not None:
                _note_threshold(lowest, weight, chosen)
        self._note_masks(variables)

    def state(
        self, variables: Sequence[tuple], sparsity: Any, step: Any, *, read: Callable
    ) -> State:
        """What the rule sees in an update.

        Args:
            variables: of each target, in the order of `Target.variables`.
            sparsity: to prune to now.
            step: finished steps.
            read: function from a variable to what the rule sees of it, an array or a tensor.
        """
        clock = {"step": step, "progress": read(self.progress(step))}
        return State(
            [self.method.gate.dense(read(k), read(h)) for k, _, h, _, _ in variables],
            [target.site for target in self.targets],
            sparsity,
            self.final,
            [{**read_state(mask, state, read), **clock} for _, mask, _, _, state in variables],
        )

    def _note_masks(self, variables):
        for target, own in zip(self.targets, variables, strict=True):
            write_state(own[-1], self.method.gate.chosen(self.moment(target.site, own)))

    def _follow(self, variables, followers, step):
        masks = [tf.cast(_read(mask), tf.bool) for _, mask, *_ in variables]
        self.following(followers, masks, self.is_final(step))

    def is_final(self, step):
        """Whether channels that are masked after so many steps will stay so, a bool tensor; never
        where they may return and the schedule has no end, or does not tell."""
        if not self.method.gate.hides:
            return tf.constant(True)
        known = getattr(self.timetable, "is_final", None)
        return tf.constant(False) if known is None else known(step)

    def progress(self, step):
        """Of the schedule; one of another library does not tell."""
        known = getattr(self.timetable, "progress", None)
        return tf.zeros([], tf.float64) if known is None else known(step)

    def moment(self, site: Site, variables: tuple, step: tf.Tensor | None = None) -> Moment:
        """What the gate sees of a site now.

        Args:
            variables: the site's, in the order of `Target.variables`.
            step: finished steps; None: outside of a step.
        """
        kernel, mask, hidden, _, state = variables
        held = read_state(mask, state, _read)
        weight = self.method.gate.dense(_read(kernel), _read(hidden))
        return Moment(
            site,
            self.method.rule.structure,
            weight,
            held["mask"],
            held,
            step,
            0.0 if step is None else self.progress(step),
        )

    def compiles(self, kernel: tf.Variable) -> bool:
        """Whether passes over a kernel are compiled by themselves, where they are traced now."""
        return self._in_place and in_place.pays(kernel)

    def _open(self, variables, step):
        gate = self.method.gate
        for target, own in zip(self.targets, variables, strict=True):
            now = self.moment(target.site, own, step)
            kernel, _, hidden, _, state = own
            if self.compiles(kernel) and gate.selects:
                present, changes = gate.present(now)
                in_place.split(kernel, hidden, present)
                write_state(state, changes)
                continue
            seen, changes = gate.open(now)
            kernel.assign(seen, read_value=False)
            hidden.assign(now.weight - seen, read_value=False)
            write_state(state, changes)

    def _apply(self, variables, changed):
        gate, structure = self.method.gate, self.method.rule.structure
        for target, own in zip(self.targets, variables, strict=True):
            kernel, mask, hidden, _, _ = own
            if self.compiles(kernel) and gate.is_hard:
                _rest_in_place(kernel, mask, hidden, changed)
                continue
            if self.compiles(kernel) and hidden is not None and gate.compiles(structure):
                self._rest_compiled(target.site, own)
                continue
            now = self.moment(target.site, own)
            kept = self.method.gate.rest(now)
            kernel.assign(kept, read_value=False)
            if hidden is not None:
                hidden.assign(now.weight - kept, read_value=False)

    def _rest_compiled(self, site, variables):
        kernel, mask, hidden, _, state = variables
        gate, structure = self.method.gate, self.method.rule.structure

        @in_place.compiled
        def rest(kernel, mask, hidden, state):
            kept = tf.cast(mask, tf.bool)
            now = Moment(site, structure, tf.convert_to_tensor(hidden), kept, state)
            kernel.assign(gate.rest(now), read_value=False)

        hidden.assign_add(kernel, read_value=False)
        rest(kernel, mask, hidden, {name: _read(one) for name, one in state.items()})
        hidden.assign_sub(kernel, read_value=False)


def _rest_in_place(kernel, mask, hidden, changed):
    """K <- W M, H <- W (1 - M); two passes where nothing that the mask keeps is hidden."""
    if hidden is not None and tf.get_static_value(changed):
        in_place.split(kernel, hidden, mask)
        return
    if hidden is not None:

        def take_back():
            in_place.take_back(kernel, hidden, mask)
            return tf.constant(True)

        tf.cond(changed, take_back, lambda: tf.constant(False))
        in_place.hide_pruned(kernel, hidden, mask)
    in_place.zero_pruned(kernel, mask)


def adopt(targets: Sequence[Target]) -> None:
    """Take the zeros that the kernels have as masks: how a run goes on from sparse weights."""

    def local(variables):
        for kernel, mask, *_ in variables:
            mask.assign(tf.cast(tf.not_equal(_read(kernel), 0), mask.dtype))

    _everywhere(local, [target.variables for target in targets])


def note_thresholds(targets: Sequence[Target]) -> None:
    """Write the smallest kept magnitude of each kernel into its threshold."""

    def local(variables):
        for kernel, mask, _, lowest, _ in variables:
            _note_threshold(lowest, _read(kernel), tf.cast(_read(mask), tf.bool))

    _everywhere(local, [target.variables for target in targets])


def read_state(mask: tf.Variable, state: dict[str, tf.Variable], read: Callable) -> dict[str, Any]:
    """What rules and gates see of a site beside its weight: the state, and the mask as bool."""
    held = read(mask)
    kept = tf.cast(held, tf.bool) if read is _read else held.astype(bool, copy=False)
    return {"mask": kept, **{name: read(one) for name, one in state.items()}}


def write_state(state: dict[str, tf.Variable], changes: dict[str, Any]) -> None:
    """Assign the entries that a rule or a gate has changed."""
    for name, value in changes.items():
        if isinstance(value, RowsFrom):
            value.write(state[name])
            continue
        state[name].assign(tf.cast(value, state[name].dtype), read_value=False)


def _note_threshold(variable, weight, kept):
    lowest = threshold(tf.abs(weight), kept)
    lowest = tf.where(tf.math.is_inf(lowest), tf.zeros_like(lowest), lowest)
    variable.assign(tf.cast(lowest, variable.dtype), read_value=False)


def _read(variable):
    return None if variable is None else tf.convert_to_tensor(variable)


def _everywhere(function: Callable, variables: list[tuple], *args: Any) -> None:
    """Run a function on the local copy of each variable, on every replica.

    All replicas hold equal weights after an optimizer step, so each computes the same masks and
    nothing is sent between them.
    """
    context = tf.distribute.get_replica_context()
    if context is None:
        tf.distribute.get_strategy().extended.update(
            variables[0][1], lambda _, *local: function(*local), args=(variables, *args)
        )
    elif not tf.distribute.has_strategy():
        function(variables, *args)
    else:
        merged = functools.partial(_in_strategy, function)
        context.merge_call(merged, args=(variables, *args))


def _in_strategy(function, strategy, variables, *args):
    strategy.extended.update(
        variables[0][1], lambda _, *local: function(*local), args=(variables, *args)
    )
