# SPDX-License-Identifier: Apache-2.0
"""Kernels of layers whose one class serves several ranks."""

import pytest
from tiny_models import KERASES

from tfprune.backend import view
from tfprune.masks import kernel_layout


@pytest.mark.parametrize("family", KERASES)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_recurrent_convolutions(family, rank):
    library = KERASES[family]
    layer = getattr(library.layers, f"ConvLSTM{rank}D")(3, 2, padding="same", name="steps")
    model = library.Sequential([library.Input((5, *range(4, 4 + rank), 2)), layer])
    seen = view(model)
    assert not seen.skipped
    names = [item.site.name.rpartition("/")[2] for item in seen.sites]
    assert names == ["kernel", "recurrent_kernel"]
    for item, channels in zip(seen.sites, (2, 3)):
        assert item.site.layout == kernel_layout.conv(rank)
        assert item.site.shape == (2,) * rank + (channels, 12)
