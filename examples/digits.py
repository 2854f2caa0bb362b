# SPDX-License-Identifier: Apache-2.0
"""Handwritten digits: train a small CNN, prune 80 % of it, ship it as verified .tflite files."""

from pathlib import Path

import keras
import numpy as np
from keras import layers
from rich import box, print
from rich.table import Column, Table

import tflite_export
import tfprune
from tflite_export.runtime import latency_ms, predict
from tfprune import data

BUILD, DATA, EPOCHS = Path("build/demo"), Path("build/demo/data"), 15


def fit(model, title, *callbacks):
    """Train with a cosine from 2e-3 to 0, behind one progress bar."""
    rate = keras.optimizers.schedules.CosineDecay(2e-3, EPOCHS * -(-len(x) // 64))
    adam = keras.optimizers.Adam(rate)
    model.compile(adam, "sparse_categorical_crossentropy", metrics=["accuracy"])
    callbacks = [*callbacks, tfprune.SparsityLog(title=title)]
    model.fit(x, y, batch_size=64, epochs=EPOCHS, verbose=0, callbacks=callbacks)


def ship(name, model, **options):
    """Export, run the file on the test split beside Keras: one row of the table."""
    path = BUILD / f"{name}.tflite"
    report = tflite_export.export(model, path, data=x[:500], **options)
    lite = next(iter(predict(path, x_test).values())).argmax(-1)
    keras_too = lite == model.predict(x_test, verbose=0).argmax(-1)
    nonzeros = sum(np.count_nonzero(weight) for weight in model.get_weights())
    macs = sum(site.macs for site in tfprune.report(model).sites)
    counts = model.count_params(), nonzeros, macs, report.bytes, report.gzip_bytes
    table.add_row(
        name,
        *(f"{count:,}" for count in counts),
        f"{np.mean(lite == y_test):.1%}",
        f"{np.mean(keras_too):.1%}",
        f"{latency_ms(path):.3f}",
    )


(x, y), (x_test, y_test) = (data.arrays(split=s, data_dir=DATA) for s in ("train", "test"))
x, x_test = x.astype("float32") / 16, x_test.astype("float32") / 16
columns = "file params non-zeros MACs bytes gzip accuracy =Keras ms".split()
table = Table(
    *(Column(name, justify="right") for name in columns),
    box=box.SIMPLE_HEAD,
    pad_edge=False,
    collapse_padding=True,
    title=f"{BUILD}/*.tflite in LiteRT",
)
keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        layers.Input((8, 8, 1)),
        layers.Conv2D(32, 3, activation="relu"),
        layers.Conv2D(64, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]
)
fit(model, "dense")
ship("dense", model)
fit(model, "pruned", tfprune.PruningCallback("magnitude", sparsity=0.8))
model = tfprune.strip_pruning(model)
ship("pruned", model, sparse=False)
ship("sparse", model)
ship("int8", model, quantize="int8")
print(table)
