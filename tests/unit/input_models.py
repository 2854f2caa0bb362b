# SPDX-License-Identifier: Apache-2.0
"""Models and one pass of measured sensitivities, for the tests of these."""

from tiny_models import KERASES, with_weights

from tfprune.backend import view
from tfprune.statistics import activations
from tfprune.statistics.calibration_data import CalibrationData, Feed
from tfprune.statistics.measure import measuring
from tfprune.statistics.measured_model import Subject

NAMES = ("mean_sensitivity", "peak_sensitivity")


def subject_of(model):
    subject = Subject.of(view(model))
    kept = tuple(item for item in subject.found if activations.refusal(item) is None)
    return Subject(subject.view, kept)


def measured(model, source, names=NAMES, **settings):
    """{site name: {statistic: array}}, both from one pass."""
    subject, feed = subject_of(model), Feed(CalibrationData(source, **settings))
    with measuring(names, subject, feed, None) as measure:
        values = measure()
    return {
        site.name: {name: value.numpy() for name, value in one.items()}
        for site, one in zip(subject.sites, values)
    }


def model_of(family, *layers, shape=(6, 6, 2)):
    """Layers one after the other; what they read has both signs."""
    return with_weights(KERASES[family].Sequential([KERASES[family].Input(shape), *layers]))
