"""The leak: how much of a saliency map lies behind the wall."""

import math
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from camwall.errors import CamwallError
from camwall.methods import Evidence, Saliency, explain_each, render
from camwall.metrics.metric import Metric, moderate
from camwall.models import WalledModel
from camwall.wall import Wall


def leak(maps: Tensor, wall: int | Tensor | Wall, *, clear_of: Tensor | None = None) -> Tensor:
    """The share of each saliency map's l2 norm behind the wall.

    ‖map[hidden pixels]‖₂ / ‖map‖₂, the paper's measure, as a fraction.

    Parameters
    ----------
    maps : tensor [N, H, W]
        Saliency maps, at the image's size; or raw ones, with a wall of cells.
    wall : Wall, row or bool mask
    clear_of : bool tensor [h, w], optional
        The map cells that the network reads (``model.visible_cells``): leaves out, of both norms,
        the hidden pixels that bilinear upsampling fills in part from them (`Wall.bleed`). What
        remains behind the wall was put there by the method.

    Returns
    -------
    tensor [N], in [0, 1]
        0 for an all-zero map, which points nowhere: `is_empty` tells these, and they count in no
        mean.

    Raises
    ------
    CamwallError
        Maps of another shape than the wall's, or that hold NaN.

    Examples
    --------
    >>> leak(torch.ones(1, 4, 4), Wall.rows(4, 4, 3))
    tensor([0.5000], dtype=torch.float64)
    """
    if not isinstance(maps, Tensor) or maps.is_complex() or maps.is_sparse or maps.is_meta:
        raise CamwallError(f"saliency maps are a real tensor [N, H, W], not {type(maps).__name__}")
    if not isinstance(wall, Wall):
        wall = Wall.of(wall, *(maps.shape[-2:] if maps.ndim > 1 else (0, 0)))
    if maps.ndim != 3 or tuple(maps.shape[1:]) != wall.shape:
        raise CamwallError(
            f"the leak is measured on maps of shape [N, {wall.shape[0]}, {wall.shape[1]}], "
            f"not {list(maps.shape)}"
        )
    if not torch.isfinite(maps).all():
        raise CamwallError("a saliency map holds NaN or infinite values; its leak has no meaning")
    behind = wall.hidden if clear_of is None else wall.hidden & ~wall.bleed(clear_of)
    return _share(moderate(maps).square(), behind, wall).sqrt()


def _share(amounts: Tensor, behind: Tensor, wall: Wall) -> Tensor:
    """Of amounts [N, H, W] ≥ 0 the share that lies ``behind``, against that and what is visible."""
    flat = amounts.flatten(1)
    hidden = flat @ behind.flatten().double()
    total = hidden + flat @ (~wall.hidden).flatten().double()
    return torch.where(total > 0, hidden / total.where(total > 0, 1.0), 0.0)


def _largest(evidence: Evidence, maps: Saliency) -> Tensor:
    """1 where a map's largest value lies behind the wall, else 0; NaN of an empty map."""
    shown, hidden = maps.shown.cpu(), evidence.model.wall.hidden
    largest = (shown == shown.amax(dim=(1, 2), keepdim=True)).double()
    return _share(largest, hidden, evidence.model.wall).where(~is_empty(shown), torch.nan)


LEAK = Metric(
    "leak",
    "the share of the map's l2 norm behind the wall",
    lambda evidence, maps: leak(maps.shown, evidence.model.wall),
)
LEAK_CLEAR = Metric(
    "leak_clear",
    "the leak without the hidden pixels that upsampling fills from visible cells",
    lambda evidence, maps: leak(
        maps.shown, evidence.model.wall, clear_of=evidence.model.visible_cells
    ),
)


LEAK_L1 = Metric(
    "leak_l1",
    "the share of the map's l1 norm behind the wall",
    lambda evidence, maps: _share(
        maps.shown.cpu().double().abs(), evidence.model.wall.hidden, evidence.model.wall
    ),
)
LEAK_ENERGY = Metric(
    "leak_energy",
    "the share of the map's squares behind the wall, the leak squared",
    lambda evidence, maps: leak(maps.shown, evidence.model.wall).square(),
)
MAXIMUM = Metric(
    "maximum",
    "whether the map's largest value lies behind the wall, of several the share that does",
    _largest,
)


def is_empty(maps: Tensor) -> Tensor:
    """Which of the saliency maps [N, H, W] are zero everywhere: bool [N]."""
    return (maps == 0).flatten(1).all(dim=1)


def mean_leak(maps: Tensor, wall: Wall) -> tuple[float, float]:
    """The mean leak of maps [N, H, W] and its standard error, empty maps left out.

    NaN where too few are left: one map has a mean and no error.
    """
    leaks = leak(maps, wall)[~is_empty(maps).cpu()]
    error = float(leaks.std()) / len(leaks) ** 0.5 if len(leaks) > 1 else math.nan
    return float(leaks.mean()), error


@cache
def random_level(wall: Wall, cells: tuple[int, int], *, draws: int = 1000, seed: int = 0) -> float:
    """The mean leak of maps that are noise: uniform on a grid (h, w) of cells, shown as any map."""
    gen = torch.Generator().manual_seed(seed)
    raw = torch.rand(draws, *cells, generator=gen, device="cpu")
    total = sum(float(leak(render(maps, wall.shape), wall).sum()) for maps in raw.split(50))
    return total / draws


#: Methods that one pass gives for all: cheap enough to follow from epoch to epoch.
FOLLOWED = ("GradCAM", "GradCAM++", "XGradCAM", "AblationCAM", "EigenCAM", "LayerCAM", "HiResCAM")


def follow_leaks(
    stacks: Tensor, methods: Sequence[str] = FOLLOWED, batch: int = 25
) -> Callable[[WalledModel], dict[str, float]]:
    """Make a function that measures each method's mean leak on stacks [N, C, H, W].

    It gives ``leak/METHOD`` and ``error/METHOD``, `mean_leak` where it is a number, and
    ``empty/METHOD``, the number of maps that are zero everywhere: the ``measure`` of
    `camwall.train.fit`. For a baseline the leak is the share of the map where the masked network
    has its wall. So many stacks as ``batch`` says are explained at a time.
    """

    def measure(model: WalledModel) -> dict[str, float]:
        device = next(model.parameters()).device
        found = [explain_each(model, part.to(device), methods) for part in stacks.split(batch)]
        row: dict[str, float] = {}
        for name in methods:
            maps = torch.cat([part[name].cpu() for part in found])
            row[f"leak/{name}"], row[f"error/{name}"] = mean_leak(maps, model.wall)
            row[f"empty/{name}"] = float(is_empty(maps).sum())
        return {name: value for name, value in row.items() if not math.isnan(value)}

    return measure
