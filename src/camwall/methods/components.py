"""EigenCAM: the first principal component of the maps, and its sign."""

import torch
from torch import Tensor

from camwall.methods.evidence import Evidence
from camwall.methods.principal import first_component
from camwall.methods.registry import Mechanism, Method


def corrected(raw: Tensor) -> Tensor:
    """Turn each raw map [N, h, w] so that its largest absolute value is positive."""
    flip = raw.amin(dim=(1, 2)).abs() > raw.amax(dim=(1, 2)).abs()
    return torch.where(flip[:, None, None], -raw, raw)


def _eigencam(evidence: Evidence) -> Tensor:
    return evidence.once("first component", lambda: first_component(evidence.maps))


_WEIGHTS = "the first principal axis of the activations over positions"

COMPONENTS = (
    Method(
        name="EigenCAM",
        weights=f"{_WEIGHTS}, with the sign the decomposition happens to return",
        mechanism=Mechanism.ACTIVATIONS,
        sees_through=True,
        reference="muhammad2020eigencam",
        raw=_eigencam,
        package="EigenCAM",
        departs="centres the activations; keeps an arbitrary sign",
    ),
    Method(
        name="EigenCAM (corrected)",
        weights=f"{_WEIGHTS}, turned so that the largest absolute value is positive",
        mechanism=Mechanism.ACTIVATIONS,
        sees_through=True,
        reference="chung2025segeigencam",
        raw=lambda evidence: corrected(_eigencam(evidence)),
        variant_of="EigenCAM",
    ),
    Method(
        name="EigenCAM (flipped)",
        weights=f"{_WEIGHTS}, with the other sign than EigenCAM's",
        mechanism=Mechanism.ACTIVATIONS,
        sees_through=True,
        reference="muhammad2020eigencam",
        raw=lambda evidence: -_eigencam(evidence),
        variant_of="EigenCAM",
    ),
    Method(
        name="EigenCAM (paper)",
        weights="the first right singular vector of the activations, not centred; for activations "
        "that are never negative all its entries have one sign",
        mechanism=Mechanism.ACTIVATIONS,
        sees_through=True,
        reference="muhammad2020eigencam",
        raw=lambda evidence: corrected(first_component(evidence.maps, centred=False)),
        variant_of="EigenCAM",
    ),
)
