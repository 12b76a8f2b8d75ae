"""A study's own test images: as stacks to follow the leak on, and as probes for the certificate."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from camwall.as_found import evaluating
from camwall.errors import CamwallError
from camwall.models.walled import WalledModel
from camwall.train.loading import evaluation_input
from camwall.train.sources import ImageSource


def pair_stacks(source: ImageSource, model: WalledModel, count: int = 100) -> tuple[Tensor, Tensor]:
    """Stacks in the manner of CutMix: one test image before the wall, another class's behind it.

    The hidden pixels are those of a second image at the place they have in it, so that both sides
    are as the network knows them (Yun et al., ICCV 2019).

    Parameters
    ----------
    source : ImageSource
    model : WalledModel
        Tells the wall and how inputs are made.
    count : int
        How many stacks; the same each time.

    Returns
    -------
    inputs : tensor [count, C, H, W]
        Normalised.
    labels : tensor [count]
        The visible image's class.

    Raises
    ------
    CamwallError
        Fewer than two classes among the images.
    """
    rng, labels = np.random.default_rng(0), source.labels.numpy()
    if len(np.unique(labels)) < 2:
        raise CamwallError("stacks of two classes need test images of at least two")
    seen = rng.choice(len(labels), count, replace=count > len(labels))
    unseen = [rng.choice(np.flatnonzero(labels != labels[i])) for i in seen]
    before, behind = (_inputs(source, model, side) for side in (seen, unseen))
    return torch.where(model.wall.hidden, behind, before), source.labels[seen]


def telling(model: WalledModel, images: Tensor, count: int = 4) -> tuple[Tensor, bool]:
    """The ``count`` images [N, C, H, W] whose scores lie farthest from the median, and if any do.

    A network whose units are dead on most images has one and the same score there: the others
    are those that it looks at.
    """
    with evaluating(model), torch.no_grad():
        scores = model(images.to(next(model.parameters()))).cpu()
    apart = (scores - scores.median(dim=0).values).abs().amax(dim=1)
    return images[apart.argsort(descending=True, stable=True)[:count]], bool(apart.any())


def probe_images(model: WalledModel, source: ImageSource) -> Tensor:
    """Images that a network looks at, for `camwall.certify`: the `telling` ones of the source.

    They are sought in batches from all over it until some differ: in one for a network in order,
    in the whole source for one that is dead on all of it.
    """
    order = np.random.default_rng(0).permutation(len(source))
    chosen = torch.empty(0)
    for batch in np.split(order, range(16, len(order), 16)):
        chosen, looks = telling(model, _inputs(source, model, batch))
        if looks:
            break
    return chosen


def _inputs(source: ImageSource, model: WalledModel, indices: Sequence[int] | np.ndarray) -> Tensor:
    """Images of a source as inputs of the network."""
    way, kind = model.preprocessing, next(model.parameters()).dtype
    return torch.stack([evaluation_input(source.image(int(i)), way) for i in indices]).to(kind)
