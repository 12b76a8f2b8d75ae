"""Why is a map not 0 behind the wall though no repaint moves it? Experiments that tell causes.

Each works with any method, and asks for its maps of one image a few times more.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from camwall.methods import Evidence, Method, Saliency
from camwall.metrics.leak import is_empty, leak
from camwall.metrics.metric import moderate
from camwall.models import WalledModel
from camwall.models.layer import Layer
from camwall.models.walled import WholeModel
from camwall.wall import Wall

#: A leak below this is rounding of float32 maps. A response has no such threshold.
ROUNDING = 1e-6
#: Seeds under which a method that draws is run, the check's own among them.
DRAWS = 8
#: A map is a resized one where the nearest that is one is as near, in units of the map's norm.
RESIZED = 1e-5
#: Cells of the largest grid that is looked for under a map that was cut after its resize.
CELLS = 400


class Findings(NamedTuple):
    """What the experiments found of one map; NaN for those that were not needed, or told nothing.

    Attributes
    ----------
    on_grid : float
        The leak of the map on the grid of the layer's maps, its hidden cells against all: before
        it was resized, and cut at 0 before or after. NaN of a map that is none resized bilinearly
        from there.
    retreated : float
        The leak behind the wall where the wall stands further away (`retreat`): 0 where what is
        there comes from next to the wall. NaN of a map that is then zero everywhere.
    agreed : float
        Of the norm behind the wall, what `DRAWS` seeds agree on: at each position the least that
        all show, with one sign. 1 of a method that does not draw, at most about 1/√DRAWS of noise.
    uneven : float
        Of the mean map of these seeds behind the wall, the standard deviation over positions in
        units of the root mean square: 0 of a constant.
    by_chance : float
        How uneven, in the same units, draws alone can leave the mean map of a constant with noise:
        what is expected of them and three standard errors. 0 of a method that does not draw.
    """

    on_grid: float = torch.nan
    retreated: float = torch.nan
    agreed: float = torch.nan
    uneven: float = torch.nan
    by_chance: float = torch.nan


def experiments(evidence: Evidence, method: Method) -> Findings:
    """Ask why a map that no repaint moves is not 0 behind the wall.

    Parameters
    ----------
    evidence : Evidence
        A pass over one image.
    method : Method
    """
    model, images, target = evidence.model, evidence.images, evidence.target
    with torch.no_grad():
        maps = Saliency(evidence, method)
        found = Findings(on_grid=_on_grid(model, maps))
        if found.on_grid <= ROUNDING:
            return found
        further = retreat(model)
        if further is not None:
            away = Saliency(Evidence(further, images, target), method)
            # Ours before negative values are cut: a sign that turns is no answer.
            left = away.cut if away.raw is None else away.raw
            if not is_empty(left).any():
                wall = model.wall if away.raw is None else Wall(~model.visible_cells.cpu())
                found = found._replace(retreated=float(leak(left, wall)))
        return found._replace(**_over_seeds(evidence, maps)._asdict())


def _on_grid(model: WalledModel, maps: Saliency) -> float:
    """`Findings.on_grid`."""
    hidden = ~model.visible_cells.cpu()
    if maps.raw is not None:
        return float(leak(maps.cut, Wall(hidden)))
    (shown,) = moderate(maps.cut[:1])
    # The resize is linear, along rows and along columns: undone by least squares.
    along = [
        F.interpolate(torch.eye(cells, device="cpu").double()[None], size, mode="linear")[0].T
        for cells, size in zip(hidden.shape, shown.shape, strict=True)
    ]
    for undone, least in ((_undone, -torch.inf), (_undone_and_uncut, 0.0)):
        grid = undone(shown, *along)
        again = (along[0] @ grid @ along[1].T).clamp(min=least)
        if (again - shown).norm() <= RESIZED * shown.norm():
            grid[grid.abs() < RESIZED * grid.abs().max()] = 0.0  # what rounding leaves
            return float(leak(grid[None], Wall(hidden)))
    return torch.nan


def _undone(shown: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """The grid [h, w] that comes nearest to a map once resized, by matrices [H, h] and [W, w]."""
    return torch.linalg.pinv(down) @ shown @ torch.linalg.pinv(across).T


def _undone_and_uncut(shown: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """That of a map that was cut at 0 after its resize, from the values that are left.

    Grids of more than `CELLS` cells are not looked for: 0.
    """
    size = down.shape[1], across.shape[1]
    if down.shape[1] * across.shape[1] > CELLS:
        return shown.new_zeros(size)
    positive = (shown > 0).flatten()
    equations, values = torch.kron(down, across)[positive], shown.flatten()[positive]
    # Rank-deficient where a cell is positive nowhere: of all solutions the smallest.
    return torch.linalg.lstsq(equations, values[:, None], driver="gelsd").solution.reshape(size)


def retreat(model: WalledModel) -> WalledModel | None:
    """The model behind a wall that stands further away: half of what was visible is hidden too.

    Pixels are hidden in the order of their distance (Chebyshev's) from those that were; None where
    that leaves no cell visible.
    """
    hidden, shape = model.wall.hidden, model.visible_cells.shape
    visible = int((~hidden).sum())
    wider = hidden
    while int((~wider).sum()) > visible // 2:
        wider = F.max_pool2d(wider[None].float(), 3, stride=1, padding=1)[0] > 0
    if wider.all():
        return None
    wall = Wall(wider)
    cells = ~wall.cells(*shape) & model.visible_cells.cpu()
    if not cells.any():
        return None
    # A walled model is a network too, whose layer is where all its maps pass.
    further = WholeModel(model, Layer("target_layer"), wall, cells, model.preprocessing)
    return further.to(model.visible_cells.device).eval()


class _Draws(NamedTuple):
    agreed: float
    uneven: float
    by_chance: float


def _over_seeds(evidence: Evidence, maps: Saliency) -> _Draws:
    """`Findings.agreed`, ``uneven`` and ``by_chance``, clear of what a resize carries across."""
    model, method = evidence.model, maps.method
    if maps.raw is not None:
        behind = ~model.visible_cells.cpu()
    else:
        clear = model.wall.hidden & ~model.wall.bleed(model.visible_cells)
        behind = clear if clear.any() else model.wall.hidden

    def draw(seed: int) -> Tensor:
        found = maps if seed == 0 else Saliency(evidence, method, seed)
        return found.cut[0].cpu().double()[behind]

    drawn = torch.stack([draw(0), draw(1)])
    if not torch.equal(drawn[0], drawn[1]):
        drawn = torch.stack([*drawn, *(draw(seed) for seed in range(2, DRAWS))])
    (drawn,) = moderate(drawn[None])
    size = drawn.square().mean().sqrt()
    one_sign = (drawn > 0).all(dim=0) | (drawn < 0).all(dim=0)
    least = drawn.abs().amin(dim=0) * one_sign
    mean = drawn.mean(dim=0)
    typical = mean.square().mean().sqrt()
    return _Draws(
        agreed=float(least.square().mean().sqrt() / size),
        uneven=float(mean.std(correction=0) / typical),
        by_chance=float(_by_chance(drawn) / typical),
    )


def _by_chance(drawn: Tensor) -> Tensor:
    """How far the mean of drawn maps [n, positions] of a constant with noise varies over positions.

    Its variance is the mean of all covariances over positions between two draws. Those of two
    different draws are around 0 then, however the noise of neighbours hangs together: their spread
    says how far chance takes their sum.
    """
    count = len(drawn)
    between = torch.cov(drawn, correction=0)
    pairs = between[*torch.triu_indices(count, count, offset=1)]
    chance = 3 * 2 * len(pairs) ** 0.5 * (pairs.std() if count > 2 else 0.0)
    own = between.trace() if count > 2 else 0.0
    return torch.as_tensor((own + chance) / count**2).sqrt()
