"""The leak while a network is trained: does training keep a method from pointing behind walls?"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from camwall.methods import explain_each
from camwall.metrics import is_empty, leak
from camwall.models import MaskedModel

#: Methods that one pass gives for all: cheap enough for every epoch.
FOLLOWED = (
    "GradCAM",
    "GradCAM++",
    "XGradCAM",
    "AblationCAM",
    "EigenCAM",
    "LayerCAM",
    "HiResCAM",
)


def follow_leaks(
    stacks: Tensor, methods: Sequence[str] = FOLLOWED, batch: int = 25
) -> Callable[[MaskedModel], dict[str, float]]:
    """Make a function that measures each method's mean leak on a fixed set of stacks.

    Parameters
    ----------
    stacks : tensor [N, C, H, W]
        Network inputs.
    methods : sequence of str
        Names in `METHODS`.
    batch : int
        Stacks at a time.

    Returns
    -------
    callable
        From a network to ``leak/METHOD``, the mean over the maps that are not zero everywhere
        (left out if all are), ``error/METHOD``, the standard error of that mean (from two maps
        on), and ``empty/METHOD``, the number of maps that are zero everywhere. Upsampling bleeds
        into no hidden row here: receptive fields reach beyond the last visible map row. For the
        baseline it is the share of the map where the masked network has its wall.
        `camwall.train.fit` takes it as ``measure``.
    """

    def measure(model: MaskedModel) -> dict[str, float]:
        device = next(model.parameters()).device
        leaks: dict[str, list[Tensor]] = {name: [] for name in methods}
        for part in stacks.split(batch):
            for name, maps in explain_each(model, part.to(device), methods).items():
                leaks[name].append(leak(maps[~is_empty(maps)], model.wall))
        row = {}
        for name, found in leaks.items():
            kept = torch.cat(found)
            if len(kept):
                row[f"leak/{name}"] = float(kept.mean())
            if len(kept) > 1:
                row[f"error/{name}"] = float(kept.std()) / len(kept) ** 0.5
            row[f"empty/{name}"] = float(len(stacks) - len(kept))
        return row

    return measure
