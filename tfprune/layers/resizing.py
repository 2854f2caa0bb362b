# SPDX-License-Identifier: Apache-2.0
"""New settings for layers whose variables change their shapes: one row per kind, both Kerases.

Layers that are not in the table take their shapes from what they are called with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Callable, Container

from tfprune.layers.call import KeptChannels
from tfprune.layers.readers import kind_of, raw
from tfprune.layers.symbolic_tensor import Unsupported


@dataclass(frozen=True, eq=False)
class View:
    """A layer as its row sees it.

    Attributes:
        layer: the layer of the given model.
        config: its settings, to be changed.
        kept: which channels stay.
        biases: the ids of the layers that get a bias, for constants folded into it.
    """

    layer: Any
    config: dict[str, Any]
    kept: KeptChannels
    biases: Container[int]

    def put(self, key: str, value: Any) -> None:
        """A new setting in place of one that is there."""
        if key not in self.config:
            raise Unsupported(f"{self.layer.name} has no setting {key!r}")
        self.config[key] = value

    def variable(self, name: str, owner: Any = None) -> Any:
        """The variable that the layer, or a layer inside it, holds under a name."""
        return raw(self.kept.survey.adapter, owner or self.layer, name)

    def size(self, name: str, owner: Any = None) -> tuple[int, ...]:
        """The new shape of a variable."""
        return self.kept.size(self.variable(name, owner))

    def bias(self, key: str = "use_bias", value: Any = True) -> None:
        """Give it a bias if constants are folded into one."""
        if id(self.layer) in self.biases:
            self.put(key, value)

    def outputs(self) -> tuple[int | None, ...]:
        """The new shape of what it makes, the same in every call."""
        calls = self.kept.survey.by_operation.get(id(self.layer), ())
        found = {self.kept.shape(results[0]) for _, results in calls}
        if len(found) != 1:
            raise Unsupported(f"{self.layer.name} would make tensors of different sizes")
        return found.pop()


def resized(view: View) -> None:
    """Change the settings of a layer as its new shapes need it.

    Raises:
        Unsupported: they cannot be changed.
    """
    row = ROWS.get(kind_of(view.layer))
    if row is not None:
        row(view)


def _dense(view: View) -> None:
    view.put("units", view.size("kernel")[1])
    view.bias()


def _convolution(view: View) -> None:
    old = int(view.variable("kernel").shape[-1])
    filters, groups = view.size("kernel")[-1], getattr(view.layer, "groups", 1) or 1
    view.put("filters", filters)
    if groups > 1 and int(view.variable("kernel").shape[-2]) == 1:
        view.put("groups", filters // (old // groups))
    view.bias()


def _transposed(view: View) -> None:
    view.put("filters", view.size("kernel")[-2])
    view.bias()


def _separable(view: View) -> None:
    view.put("filters", view.size("pointwise_kernel")[-1])
    view.bias()


def _embedding(view: View) -> None:
    view.put("output_dim", view.size("embeddings")[1])


def _einsum(view: View) -> None:
    given = view.config["output_shape"]
    sizes = view.outputs()[1:]
    given = (given,) if isinstance(given, int) else tuple(given)
    view.put(
        "output_shape",
        tuple(
            None if old is None else new
            for old, new in zip(given, sizes[len(sizes) - len(given) :])
        ),
    )
    equation = view.layer.equation.replace(" ", "")
    kernel = equation.partition(",")[2].partition("->")[0]
    view.bias("bias_axes", "".join(one for one in equation.partition("->")[2] if one in kernel))


def _group_normalization(view: View) -> None:
    calls = view.kept.survey.by_operation.get(id(view.layer), ())
    old = {step.value.shape[-1] for step, _ in calls}
    new = view.outputs()[-1]
    if view.config["groups"] != -1 and len(old) == 1:
        view.put("groups", new // (old.pop() // view.config["groups"]))


def _layer_scale(view: View) -> None:
    view.put("projection_dim", view.size("gamma")[0])


def _reshape(view: View) -> None:
    sizes = view.outputs()[1:]
    given = view.config["target_shape"]
    view.put("target_shape", tuple(-1 if old == -1 else new for old, new in zip(given, sizes)))


def _recurrent(view: View) -> None:
    cell = view.layer.cell
    key = "filters" if "filters" in cell.get_config() else "units"
    units = view.size("recurrent_kernel", cell)[-2]
    holder = view.config if key in view.config else _inner(view.config, "cell")
    inside = View(view.layer, holder, view.kept, view.biases)
    inside.put(key, units)
    if id(cell) in view.biases:
        inside.put("use_bias", True)


def _bidirectional(view: View) -> None:
    for key, layer in (
        ("layer", view.layer.forward_layer),
        ("backward_layer", view.layer.backward_layer),
    ):
        if key in view.config:
            _recurrent(View(layer, _inner(view.config, key), view.kept, view.biases))


def _time_distributed(view: View) -> None:
    inner = view.layer.layer
    if view.kept.survey.adapter.is_model(inner):
        raise Unsupported(f"{view.layer.name} applies a whole model")
    resized(View(inner, _inner(view.config, "layer"), view.kept, view.biases))


def _inner(config: dict[str, Any], key: str) -> dict[str, Any]:
    """The settings of a layer in another's; its recorded shapes are forgotten."""
    config[key].pop("build_config", None)
    return config[key]["config"]


def parts(layer: Any, adapter: Any) -> dict[str, Any]:
    """The projections of an attention layer by their names."""
    return {sub.name: sub for sub in adapter.sublayers(layer)}


def _attention(view: View) -> None:
    adapter = view.kept.survey.adapter
    held = parts(view.layer, adapter)
    _, heads, width = view.size("kernel", held["query"])
    value = view.size("kernel", held["value"])[2]
    output = view.size("kernel", held["attention_output"])
    calls = view.kept.survey.by_operation[id(view.layer)]
    shapes = {tuple(view.kept.shape(one) for one in _sources(step)) for step, _ in calls}
    view.put("num_heads", heads)
    view.put("key_dim", width)
    view.put("value_dim", value)
    if view.config["output_shape"] is not None or output[2:] != next(iter(shapes))[0][-1:]:
        view.put("output_shape", output[2:])
    if "query_shape" in view.config:
        for key, shape in zip(("query_shape", "value_shape", "key_shape"), next(iter(shapes))):
            view.put(key, shape)


def _sources(step: Any) -> tuple[Any, Any, Any]:
    """What an attention layer is called with: query, value and key."""
    query, value = (step.setting(name, place) for place, name in enumerate(("query", "value")))
    key = step.setting("key", 2)
    return query, value, key if hasattr(key, "axes") else value


def _grouped_attention(view: View) -> None:
    held = parts(view.layer, view.kept.survey.adapter)
    _, heads, width = view.size("kernel", held["query"])
    if view.size("kernel", held["value"])[2] != width:
        raise Unsupported(f"{view.layer.name} has one width for queries and values")
    view.put("head_dim", width)
    view.put("num_query_heads", heads)
    view.put("num_key_value_heads", view.size("kernel", held["key"])[1])


ROWS: dict[str, Callable[[View], None]] = {
    "Dense": _dense,
    "EinsumDense": _einsum,
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), _convolution),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), _transposed),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _separable),
    "Embedding": _embedding,
    "GroupNormalization": _group_normalization,
    "LayerScale": _layer_scale,
    "Reshape": _reshape,
    **dict.fromkeys(
        ("RNN", "LSTM", "GRU", "SimpleRNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"), _recurrent
    ),
    "Bidirectional": _bidirectional,
    "TimeDistributed": _time_distributed,
    "MultiHeadAttention": _attention,
    **dict.fromkeys(("GroupQueryAttention", "GroupedQueryAttention"), _grouped_attention),
}


def scales(layer: Any, kept: KeptChannels) -> dict[int, float]:
    """What variables are multiplied with since a layer divides by the root of a changed width:
    by their ids."""
    kinds = ("MultiHeadAttention", "GroupQueryAttention", "GroupedQueryAttention")
    if kind_of(layer) not in kinds:
        return {}
    adapter = kept.survey.adapter
    query = parts(layer, adapter)["query"]
    kernel, bias = raw(adapter, query, "kernel"), raw(adapter, query, "bias")
    factor = math.sqrt(kept.size(kernel)[2] / kernel.shape[2])
    return {id(one): factor for one in (kernel, bias) if one is not None and factor != 1}
