"""The leak while a network is trained: does training teach a method not to see through walls?"""

from collections.abc import Callable, Sequence

from torch import Tensor

from camwall.models import MaskedModel
from camwall.saliency import explain_each, is_empty, leak

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
        From a network to ``leak/METHOD`` (the paper's measure), ``leak_clear/METHOD`` (the rows
        that upsampling bleeds into left out), both means over the maps that are not zero
        everywhere, and ``empty/METHOD``, the number of those that are. For the baseline it is the
        share of the map where the masked network has its wall. `camwall.train.fit` takes it as
        ``measure``.
    """

    def measure(model: MaskedModel) -> dict[str, float]:
        device = next(model.parameters()).device
        sums = {name: [0.0, 0.0, 0] for name in methods}
        for part in stacks.split(batch):
            maps = explain_each(model, part.to(device), methods)
            for name, found in maps.items():
                kept = found[~is_empty(found)]
                sums[name][0] += float(leak(kept, model.wall).sum())
                sums[name][1] += float(leak(kept, model.wall, bleed=False).sum())
                sums[name][2] += len(kept)
        row = {}
        for name, (with_bleed, clear, count) in sums.items():
            row[f"leak/{name}"] = with_bleed / count if count else 0.0
            row[f"leak_clear/{name}"] = clear / count if count else 0.0
            row[f"empty/{name}"] = len(stacks) - count
        return row

    return measure
