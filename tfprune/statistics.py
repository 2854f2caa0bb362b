"""What scores are computed from. A score says what it `needs`; this module supplies it."""

from __future__ import annotations

from typing import Any, Sequence

from tfprune.arrays import is_tensor

NAMES = ("weight", "noise")


def collect(needs: Sequence[str], weights: Sequence[Any], *, seed: int = 0) -> list[dict[str, Any]]:
    """Supply the statistics that a score needs, for all sites at once.

    Args:
        needs: names out of `NAMES`. `"weight"`: W itself. `"noise"`: i.i.d. uniform numbers in
            [0, 1), the same at every call with the same seed, so that masks drawn from them are
            nested as sparsity grows.
        weights: one array or tensor per site.
        seed: seed of the noise.

    Returns:
        One dictionary per site, from name to what has the weight's shape and is of its kind, an
        array or a tensor.

    Raises:
        ValueError: a name that nobody supplies.
    """
    unknown = sorted(set(needs) - set(NAMES))
    if unknown:
        raise ValueError(f"Unknown statistics {unknown}; known are {list(NAMES)}.")
    return [
        {name: _supply(name, weight, seed, index) for name in needs}
        for index, weight in enumerate(weights)
    ]


def _supply(name: str, weight: Any, seed: int, index: int) -> Any:
    if name == "weight":
        return weight
    import tensorflow as tf

    # A named algorithm: the automatic choice differs between devices and compilers.
    noise = tf.random.stateless_uniform(
        weight.shape, seed=[seed, index], dtype=tf.float32, alg="philox"
    )
    return noise if is_tensor(weight) else noise.numpy()
