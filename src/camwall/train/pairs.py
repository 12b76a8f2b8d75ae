"""Stacks from a study's own test images, to follow the leak while a network is trained."""

import numpy as np
import torch
from torch import Tensor

from camwall.errors import CamwallError
from camwall.models.walled import WalledModel
from camwall.train.loading import evaluation_input
from camwall.train.sources import ImageSource


def pair_stacks(
    source: ImageSource, model: WalledModel, count: int = 100, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Stacks in the manner of CutMix: one test image above the wall, another class's below it.

    The rows behind the wall are those of a second image at the place they have in it, so that
    both sides are as the network knows them (Yun et al., ICCV 2019).

    Parameters
    ----------
    source : ImageSource
    model : WalledModel
        Tells the wall and how inputs are made.
    count, seed : int
        How many stacks; the pairs are drawn with this seed.

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
    rng = np.random.default_rng(seed)
    labels = np.array([source.label(i) for i in range(len(source))])
    if len(np.unique(labels)) < 2:
        raise CamwallError("stacks of two classes need test images of at least two")
    above = rng.choice(len(labels), count, replace=count > len(labels))
    below = [rng.choice(np.flatnonzero(labels != labels[i])) for i in above]
    stacks = []
    for top, bottom in zip(above, below, strict=True):
        pair = [evaluation_input(source.image(int(i)), model.preprocessing) for i in (top, bottom)]
        stacks.append(torch.cat([pair[0][:, : model.wall.row], pair[1][:, model.wall.row :]], 1))
    return torch.stack(stacks), torch.from_numpy(labels[above])
