"""The package zennit: layer-wise relevance propagation by its composites.

A map is the size of the relevance's sum over colours. The rules are set on a copy of the network,
whose batch norms are merged into the layers before them, as the rules require.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from zennit import composites
from zennit.attribution import Gradient
from zennit.torchvision import ResNetCanonizer

from camwall.errors import CamwallError, in_one_line
from camwall.models import WalledModel
from camwall.models.walled import WholeModel


class _Scores(nn.Module):
    """A copy of the model, or of the network in it that gives the scores."""

    def __init__(self, model: WalledModel) -> None:
        super().__init__()
        whole = isinstance(model, WholeModel)
        self.inner = copy.deepcopy(model.trunk if whole else model)
        self.scores = (lambda images: model.scores(images, self.inner)) if whole else self.inner

    def forward(self, images: Tensor) -> Tensor:
        return self.scores(images)


def maps(name: str, model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
    """Maps [N, H, W] of a composite of the package."""
    kind, way = type(model.trunk).__name__, model.preprocessing
    settings: dict[str, Any] = {"canonizers": [ResNetCanonizer()]}  # merges everywhere
    if name == "EpsilonGammaBox":
        seen = model.seen(images)
        black, white = (way.normalize(torch.full_like(seen, value)) for value in (0.0, 1.0))
        settings |= {"low": black, "high": white}
    with in_one_line(
        f"zennit's {name} cannot follow this {kind}", "take a method without a rule for modules"
    ):
        scoring = _Scores(model)
        with torch.no_grad():
            wanted = scoring(images)
        one = nn.functional.one_hot(target, wanted.shape[1]).to(images)
        with Gradient(scoring, getattr(composites, name)(**settings)) as attributor:
            scores, relevance = attributor(images, one)
        if (scores - wanted).abs().max() > 1e-3 * wanted.abs().max():
            raise CamwallError(
                f"zennit cannot merge the batch norms of this {kind} into its convolutions: take a "
                "method without a rule for modules"
            )
    return relevance.detach().sum(dim=1).abs()
