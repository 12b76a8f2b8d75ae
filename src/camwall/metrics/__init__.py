"""What is measured of a saliency method: leak, response, faithfulness, localisation; by name.

A metric is a `Metric`: a function of a pass and a method's maps on its images, one number an image.
`camwall.check` takes any of them by name, or one's own as it is.
"""

from collections.abc import Sequence

from camwall.errors import CamwallError
from camwall.metrics.faithfulness import FAITHFULNESS
from camwall.metrics.leak import LEAK, LEAK_CLEAR, is_empty, leak, mean_leak, random_level
from camwall.metrics.localisation import LOCALISATION
from camwall.metrics.metric import Measure, Metric
from camwall.metrics.response import REPAINTS, RESPONSE, change, repaint, response
from camwall.metrics.twins import Twins, twins, twins_each

__all__ = [
    "METRICS",
    "REPAINTS",
    "Measure",
    "Metric",
    "Twins",
    "change",
    "chosen",
    "is_empty",
    "leak",
    "mean_leak",
    "random_level",
    "repaint",
    "response",
    "twins",
    "twins_each",
]

#: Every metric by its name; one of your own needs no entry.
METRICS: dict[str, Metric] = {
    metric.name: metric for metric in (RESPONSE, LEAK, LEAK_CLEAR, *FAITHFULNESS, *LOCALISATION)
}


def chosen(metrics: Sequence[str | Metric]) -> list[Metric]:
    """The metrics of a list, each once.

    Raises
    ------
    CamwallError
        No metric, an unknown one, or two of one name.
    """
    if isinstance(metrics, str | Metric):
        metrics = [metrics]
    found = {}
    for metric in metrics:
        if isinstance(metric, str):
            if metric not in METRICS:
                raise CamwallError(f"unknown metric {metric!r}; known: {', '.join(METRICS)}")
            metric = METRICS[metric]
        if not isinstance(metric, Metric):
            raise CamwallError(f"a metric is a name or a Metric, not {metric!r}")
        if metric.name in found:
            raise CamwallError(f"the metric {metric.name} is asked for twice")
        found[metric.name] = metric
    if not found:
        raise CamwallError(f"no metrics to measure: the list is empty; known: {', '.join(METRICS)}")
    return list(found.values())
