"""Is a map where the animal is? Of images that bring the animal's outline."""

import torch
from torch import Tensor

from camwall.methods import Evidence, Saliency
from camwall.metrics.metric import Metric

#: The annotation: a bool mask [H, W] of the pixels that show the animal to be found.
OUTLINE = "outline"


def _outlines(evidence: Evidence) -> Tensor:
    masks = [torch.as_tensor(mask) for mask in evidence.annotations[OUTLINE]]
    return torch.stack(masks).to(evidence.images.device)


def on_animal(evidence: Evidence, maps: Saliency) -> Tensor:
    """Σ of the map on the animal over its Σ everywhere; NaN of an empty map.

    The energy-based pointing game (Wang et al., 2020).
    """
    shown, total = maps.shown, maps.shown.sum(dim=(1, 2))
    share = (shown * _outlines(evidence)).sum(dim=(1, 2)) / total.where(total > 0, 1.0)
    return share.where(total > 0, torch.nan)


def pointing(evidence: Evidence, maps: Saliency) -> Tensor:
    """1 where the map's largest value lies on the animal, else 0; NaN of an empty map.

    The pointing game (Zhang et al., 2018) without its margin. Of several largest values the share
    that lies on the animal.
    """
    shown = maps.shown
    top = shown.amax(dim=(1, 2), keepdim=True)
    largest = shown == top
    hits = (largest & _outlines(evidence)).sum(dim=(1, 2)) / largest.sum(dim=(1, 2))
    return hits.where(top.flatten() > 0, torch.nan)


LOCALISATION = (
    Metric(
        "on_animal",
        "the share of the map on the animal",
        on_animal,
        annotation=OUTLINE,
        reference="wang2020scorecam",
    ),
    Metric(
        "pointing",
        "whether the map's largest value lies on the animal",
        pointing,
        annotation=OUTLINE,
        reference="zhang2018pointing",
    ),
)
