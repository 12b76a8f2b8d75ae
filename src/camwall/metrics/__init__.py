"""What is measured of a saliency method: leak, response, faithfulness, localisation; by name.

A metric is a `Metric`: a function of a pass and a method's maps on its images, one number an image.
`camwall.check` takes any of them by name, or one's own as it is.
"""

from collections.abc import Sequence

from camwall.methods.registry import named
from camwall.metrics.faithfulness import FAITHFULNESS, distances
from camwall.metrics.leak import (
    LEAK,
    LEAK_CLEAR,
    LEAK_ENERGY,
    LEAK_L1,
    MAXIMUM,
    is_empty,
    leak,
    mean_leak,
    random_level,
)
from camwall.metrics.localisation import LOCALISATION
from camwall.metrics.metric import Measure, Metric
from camwall.metrics.response import REPAINTS, RESPONSE, change, repaint, response
from camwall.metrics.twins import Twins, twins, twins_each

__all__ = [
    "METRICS",
    "REPAINTS",
    "AnyMetric",
    "Measure",
    "Metric",
    "Twins",
    "change",
    "chosen",
    "distances",
    "is_empty",
    "leak",
    "mean_leak",
    "random_level",
    "repaint",
    "response",
    "twins",
    "twins_each",
]

AnyMetric = str | Metric | Measure

#: Every metric by its name; one of your own needs no entry.
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        RESPONSE,
        LEAK,
        LEAK_CLEAR,
        LEAK_L1,
        LEAK_ENERGY,
        MAXIMUM,
        *FAITHFULNESS,
        *LOCALISATION,
    )
}


def chosen(metrics: Sequence[AnyMetric] | AnyMetric) -> list[Metric]:
    """The metrics that names, metrics or functions stand for, each once.

    CamwallError for no metric, an unknown one, or two of one name.
    """
    return named(metrics, METRICS, Metric, lambda name, own: Metric(name, "a function", own))
