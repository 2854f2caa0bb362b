# SPDX-License-Identifier: Apache-2.0
"""Seeds for weights that layers make anew."""

from __future__ import annotations

import contextlib
import random
from typing import Iterator

from tfprune.backend.base import Backend


@contextlib.contextmanager
def fresh_weights(adapter: Backend, seed: int | None) -> Iterator[None]:
    """Let initializers without a seed of their own draw it from this one, then go on as before.

    Both Kerases draw such seeds from Python's generator, tf_keras from one of its own once the
    user has set a seed.
    """
    if seed is None:
        yield
        return
    before = random.getstate()
    try:
        random.seed(seed)
        with adapter.seeds_of_python():
            yield
    finally:
        random.setstate(before)
