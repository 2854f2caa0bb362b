# SPDX-License-Identifier: Apache-2.0
"""The functions a user calls: wrap, strip, load, report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tfprune.backend import adapter_of, adapter_of_model, view
from tfprune.backend.model_view import ModelView
from tfprune.backend.saved_model import keras_of_file
from tfprune.masks.pattern_library import Library, mine
from tfprune.masks.schedules import OneShot
from tfprune.masks.structures import Pattern, Structure
from tfprune.methods import Method, get_method
from tfprune.output.argument_checks import check_kind, check_path
from tfprune.output.caller_warning import accept_old
from tfprune.training.callback import PruningCallback
from tfprune.training.method_settings import settings
from tfprune.training.model_hooks import hooks_of, refuse_pruning
from tfprune.training.report import Report, of_model
from tfprune.training.strip import strip
from tfprune.training.tfmot import load, prune_like_tfmot
from tfprune.training.wrap import refuse_wrapped


def prune(
    to_prune: Any,
    method: str | Method = "magnitude",
    sparsity: float | None = None,
    *,
    schedule: Any = None,
    structure: Structure | None = None,
    allocation: Any = None,
) -> Any:
    """Wrap a model, a layer or a list of layers, so that they are pruned while they train.

    Train the result with `PruningCallback()` among the callbacks. Layers that cannot be pruned
    stay as they are; `tfprune.report` names them with the reason.

    Args:
        to_prune: a functional or Sequential model, a layer, or a list of layers, of keras or
            tf_keras. Layers are shared with the result, not copied.
        method: a name out of `tfprune.list_methods()` or a Method.
        sparsity: fraction of groups to remove, in [0, 1). Short for
            `schedule=Polynomial(sparsity)`.
        schedule: a tfprune schedule or a TF-MOT `PruningSchedule`.
        structure: which weights go together; `Element()` by default.
        allocation: how many each layer keeps; `Uniform()` by default.

    Returns:
        The same kind: a model, a layer or a list.

    Raises:
        ValueError: nothing says how much to prune; a subclassed model, whose layers cannot be
            exchanged; a model whose own train_step would be lost; a layer that is listed twice;
            a model without anything to prune, or one that is quantization-aware; a layer, or all
            layers of a model, that are wrapped already.
        TypeError: not a Keras object, or objects of both Kerases.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> [layer.name for layer in prune(model, "magnitude", 0.5).layers]  # doctest: +ELLIPSIS
        ['prune_magnitude_dense...']
    """
    method = settings(
        method, sparsity, schedule=schedule, structure=structure, allocation=allocation
    )
    backend = adapter_of(to_prune)
    given = to_prune if isinstance(to_prune, (list, tuple)) else [to_prune]
    for one in given:
        adapter_of_model(one, layers=True)
        if not backend.is_model(one):
            refuse_wrapped(ModelView(one, backend))
        refuse_pruning(ModelView(one, backend))
    return hooks_of(method.gate).insert(to_prune, backend, method)


def sparsify(
    model: Any,
    method: str | Method = "magnitude",
    sparsity: float | None = None,
    *,
    structure: Structure | None = None,
    allocation: Any = None,
    data: Any = None,
) -> Report:
    """Prune a built model now, in place, without training it.

    To keep the zeros while it trains on, train with `PruningCallback` instead, which prunes at
    step 0 just so.

    Args:
        model: any built model of keras or tf_keras.
        method: a name out of `tfprune.list_methods()` or a Method.
        sparsity: fraction of groups to remove, in [0, 1); left out where the structure fixes it.
        structure: which weights go together; the method's own by default.
        allocation: how many each layer keeps; the method's own by default.
        data: for scores that look at data: (x, y), a data set of batches, or a
            `tfprune.CalibrationData`.

    Returns:
        What was asked and what was reached.

    Raises:
        ValueError: as `PruningCallback` does; the model is not built.
        TypeError: not a Keras model.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> sparsify(model, "synflow", 0.5).kept
        4
    """
    method = settings(method, sparsity, structure=structure, allocation=allocation)
    callback = PruningCallback(
        get_method(method, schedule=OneShot(method.schedule.sparsity)), data=data
    )
    callback.start(model)
    callback.require_targets()
    return callback.finish()


def prune_low_magnitude(
    to_prune: Any,
    pruning_schedule: Any = None,
    block_size: tuple[int, int] = (1, 1),
    block_pooling_type: str = "AVG",
    pruning_policy: Any = None,
    sparsity_m_by_n: Any = None,
    **kwargs: Any,
) -> Any:
    """TF-MOT's `prune_low_magnitude`, with the same arguments, for tf_keras and for Keras 3.

    On tf_keras it is a drop-in: the same objects are accepted and refused, the same layers pruned,
    the same names given, and TF-MOT's `UpdatePruningStep` alone can drive the result. On Keras 3
    layers that cannot be pruned stay as they are, and `PruningCallback()` drives.

    Args:
        to_prune: a model, a layer, or a list of layers.
        pruning_schedule: a TF-MOT `PruningSchedule` (or one of tfprune's);
            `ConstantSparsity(0.5, 0)` by default.
        block_size: (height, width) of the blocks of a rank-2 kernel [in, out].
        block_pooling_type: "AVG" or "MAX".
        pruning_policy: an object with `allow_pruning(layer)`.
        sparsity_m_by_n: (m, n) = m ZEROS in every n consecutive weights along the input channels.
            The literature's N:M counts the weights kept: TF-MOT's (1, 4) is 3:4.
        **kwargs: passed to the wrapper of a single layer.

    Raises:
        ValueError: an object or a layer that TF-MOT refuses.

    Example:
        >>> import keras
        >>> from tfprune import Polynomial
        >>> layer = prune_low_magnitude(keras.layers.Dense(2, name="d"), Polynomial(0.5))
        >>> layer.name
        'prune_low_magnitude_d'
    """
    return prune_like_tfmot(
        to_prune,
        pruning_policy,
        dict(
            pruning_schedule=pruning_schedule,
            block_size=block_size,
            block_pooling_type=block_pooling_type,
            sparsity_m_by_n=sparsity_m_by_n,
        ),
        kwargs,
    )


@accept_old(activations="keep_activation_quantizers")
def strip_pruning(model: Any, *, keep_activation_quantizers: bool = False) -> Any:
    """Take the wrappers off: a plain Keras model with the sparse weights.

    Wrappers of `tfprune.quantize_aware` come off, too: the weights are the trained ones in float.

    Args:
        model: a model, functional, Sequential or subclassed, or a layer. Subclassed models are
            changed in place. A model without wrappers is returned as it is.
        keep_activation_quantizers: `djpq` has also learned how coarsely layers see what they read.
            False: they read floats, since converters choose the types of activations by themselves.
            True: plain operations clip and round it, so that the result computes what `model` does.
            They have no gradients: nothing is learned through them.

    Returns:
        A model that shares its layers, and so its weights, with `model`.

    Raises:
        TypeError: not a Keras object.
        ValueError: a run of `djpq` is on; one layer of its model; `keep_activation_quantizers` of a
            layer, of a model without a graph, or, in tf_keras, of what a Keras mask belongs to.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="d")])
        >>> strip_pruning(prune(model, "magnitude", 0.5)).layers[0].name
        'd'
    """
    seen = view(model, layers=True)
    check_kind("keep_activation_quantizers", keep_activation_quantizers, bool, "True or False")
    return strip(seen, keep_activation_quantizers)


def load_model(path: str | Path, **kwargs: Any) -> Any:
    """Load a saved model, wrapped or not, with the Keras that saved it.

    Models that TF-MOT wrapped and saved are loaded, too, without its `prune_scope`.

    Args:
        path: a `.keras` or `.h5` file, or the folder of a tf_keras SavedModel.
        **kwargs: passed to that Keras' `load_model`.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: not a saved Keras model.
        TypeError: no path.

    Example:
        >>> load_model("missing.keras")
        Traceback (most recent call last):
        ...
        FileNotFoundError: No model at missing.keras.
    """
    path = check_path(path, "a saved model")
    return load(path, keras_of_file(Path(path)), **kwargs)


def report(model: Any) -> Report:
    """What is pruned in a model: per weight shape, structure, target, kept, sparsity and MACs.

    Kept weights are counted in the weights themselves; layers that stay dense are named with the
    reason. Print it with `rich`, or use `.to_dict()`.

    Example:
        >>> import keras
        >>> report(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])).size
        8
    """
    return of_model(view(model, layers=True))


def mine_patterns(model: Any, count: int = 8, keep: int = 4) -> Library:
    """The patterns that a model's 3x3 kernels have most often, for `tfprune.Pattern`.

    Args:
        model: a built model; its depthwise kernels are left out.
        count: how many patterns at most.
        keep: positions of a pattern, 2 to 8.

    Returns:
        As `tfprune.masks.pattern_library.mine` does.

    Raises:
        ValueError: no 3x3 kernel, or a number out of range.
        TypeError: not a Keras model.

    Example:
        >>> import keras
        >>> layers = [keras.Input((5, 5, 1)), keras.layers.Conv2D(2, 3)]
        >>> len(mine_patterns(keras.Sequential(layers), 1))
        1
    """
    found, taken = view(model, layers=True).sites, Pattern()
    kernels = [
        np.moveaxis(np.asarray(item.variable), item.site.layout.spatial, (0, 1))
        for item in found
        if taken.supports(item.site.shape, item.site.layout) is None
    ]
    return mine(kernels, count, keep)
