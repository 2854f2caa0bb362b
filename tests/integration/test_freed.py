# SPDX-License-Identifier: Apache-2.0
"""A model that nobody holds any more is freed, whatever was done with it."""

import gc
import weakref

import pytest
from tiny_models import KERASES, cnn, compiled, examples, fit

import tfprune

COUPLED = tfprune.Filter(coupled=True)


def trained(family):
    model = compiled(cnn(family), family)
    callback = tfprune.PruningCallback("magnitude", 0.5)
    fit(model, callback, epochs=1)
    return model, callback.driver, callback.report


def wrapped(family):
    dense = cnn(family)
    model = tfprune.prune(dense, "magnitude", 0.5)
    callback = tfprune.PruningCallback()
    callback.start(model, total_steps=1)
    callback.finish()
    return dense, model, callback.driver, tfprune.strip_pruning(model)


def measured(family):
    model = cnn(family)
    return model, tfprune.sparsify(model, "taylor", 0.5, data=examples(family))


def shrunk(family):
    model = cnn(family)
    tfprune.sparsify(model, "magnitude", 0.5, structure=COUPLED)
    return model, tfprune.report(model), *tfprune.shrink(model)


@pytest.mark.parametrize("action", [trained, wrapped, measured, shrunk])
@pytest.mark.parametrize("family", KERASES)
def test_a_model_is_freed_with_what_was_made_of_it(family, action):
    held = [(type(one).__name__, weakref.ref(one)) for one in action(family)]
    gc.collect()
    assert [name for name, one in held if one() is not None] == []
