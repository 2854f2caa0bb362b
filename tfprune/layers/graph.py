# SPDX-License-Identifier: Apache-2.0
"""A model's graph in the same words for both Kerases: its calls in order, tensors as plain keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Iterable, Iterator


@dataclass(frozen=True)
class Ref:
    """A symbolic tensor: `key` is the same wherever the tensor is used."""

    key: int
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True)
class Call:
    """One call of a layer, a model or a raw operation, with `Ref`s in place of tensors."""

    operation: Any
    args: tuple
    kwargs: dict[str, Any]
    outputs: tuple[Ref, ...]

    @property
    def reads(self) -> list[Ref]:
        """The tensors that it is given, in their order."""
        return [one for one in leaves((self.args, self.kwargs)) if isinstance(one, Ref)]


@dataclass(frozen=True, eq=False)
class RawOperation:
    """An operation inside a layer's own `call`.

    Attributes:
        kind: the rule that speaks for it.
        owner: the layer.
        name: TensorFlow's for this kind of operation.
    """

    kind: str
    owner: Any
    name: str


@dataclass(frozen=True)
class Graph:
    """The calls of a model in an order in which they can be computed; `names` are the inputs'."""

    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]
    calls: tuple[Call, ...]
    names: tuple[str, ...]

    def replayed(
        self, given: Iterable[Any], results: Callable[[Call, dict[int, Any]], Iterable[Any]]
    ) -> list[Any]:
        """What stands for the outputs, if `given` stands for the inputs.

        Args:
            results: `results(call, known)` -> what stands for the outputs of a call; `known` holds
                what stands for every tensor so far, by its key.
        """
        known = {ref.key: value for ref, value in zip(self.inputs, given, strict=True)}
        for call in self.calls:
            known.update(
                (ref.key, value)
                for ref, value in zip(call.outputs, results(call, known), strict=False)
            )
        return [known[ref.key] for ref in self.outputs]


def mapped(structure: Any, kind: type | tuple[type, ...], convert: Callable[[Any], Any]) -> Any:
    """The structure of lists, tuples and dictionaries with every `kind` in it converted.

    Lists stay lists: some layers of tf_keras tell them from tuples.
    """
    if isinstance(structure, kind):
        return convert(structure)
    if isinstance(structure, (list, tuple)):
        whole = list if isinstance(structure, list) else tuple
        return whole(mapped(one, kind, convert) for one in structure)
    if isinstance(structure, dict):
        return {key: mapped(one, kind, convert) for key, one in structure.items()}
    return structure


def leaves(structure: Any) -> Iterator[Any]:
    """Everything in a structure of lists, tuples and dictionaries; dictionaries by sorted key."""
    if isinstance(structure, (list, tuple)):
        for one in structure:
            yield from leaves(one)
    elif isinstance(structure, dict):
        for key in sorted(structure, key=str):
            yield from leaves(structure[key])
    else:
        yield structure


def calls_its_graph(model: Any) -> bool:
    """Whether no class of the user's replaces what the model computes."""
    owner = next(cls for cls in type(model).__mro__ if "call" in vars(cls))
    return owner.__module__.split(".")[0] in ("keras", "tf_keras")
