"""Monte Carlo over random simple CNNs, thousands at once.

Two samplers. :func:`draw_networks` draws whole networks, parameter by parameter, and serves every
method. :func:`simulate_gradcam` draws what GradCAM at the asked positions depends on and nothing
else: the filters' responses to those patches, and the sums of the head's weights, since pooling
hands each cell's gradient to exactly one position. Both are Gaussian vectors, a few numbers a
channel where a network has dozens.

Both work in chunks of bounded memory; the chunks depend on the sizes alone, so a seed fixes every
draw. Draws are float32, sums are kept in float64.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from camwall.errors import CamwallError, check_count, check_list, check_number
from camwall.theory.geometry import Setting

WeightsLaw = Literal["normal", "uniform"]
_CHUNK_FLOATS = 2**18  # 1 MiB of float32: stays in the caches, and bounds memory


class Networks(NamedTuple):
    """A chunk of N random networks and what one image makes of them.

    Attributes
    ----------
    filters : [N, V, k, k].
    layers : the head's matrices, first [N, N₁ or 1, V·h'w'] (hidden cells 0), last [N, 1, ·].
    maps : B, [N, V, h, w].
    gradients : ∂f/∂B, [N, V, h, w].
    scores : f, [N].
    """

    filters: Tensor
    layers: tuple[Tensor, ...]
    maps: Tensor
    gradients: Tensor
    scores: Tensor

    @classmethod
    def join(cls, chunks: Iterable["Networks"]) -> "Networks":
        """All chunks as one; only for as many networks as memory holds."""
        filters, layers, *rest = zip(*chunks, strict=True)
        whole = tuple(torch.cat(layer) for layer in zip(*layers, strict=True))
        return cls(torch.cat(filters), whole, *map(torch.cat, rest))


@dataclass(frozen=True)
class Estimate:
    """A Monte Carlo mean with its standard error."""

    value: float
    standard_error: float

    @classmethod
    def of(cls, draws: Tensor) -> "Estimate":
        """That of E[X] from draws [N] of X; of P(A) from booleans."""
        if not isinstance(draws, Tensor) or draws.ndim != 1 or len(draws) < 2:
            raise CamwallError("an estimate takes a tensor of at least 2 draws [N]")
        if not torch.isfinite(x := draws.double()).all():
            raise CamwallError("the draws hold NaN or infinite values")
        return cls(float(x.mean()), float(x.std() / len(x) ** 0.5))

    def errors_from(self, exact: float) -> float:
        """How many standard errors the estimate lies from ``exact`` (signed)."""
        if self.value == exact:  # without spread there is no error to divide by
            return 0.0
        return (self.value - exact) / self.standard_error if self.standard_error else math.inf


def coverage(values: Tensor, exact: float, batches: int = 100) -> int:
    """How many of ``batches`` disjoint 95 % intervals for the mean hold ``exact``.

    Draws [N] are cut into equal batches; each has its own Student interval.
    """
    check_number("exact", exact)
    if not isinstance(values, Tensor) or values.ndim != 1 or not torch.isfinite(values).all():
        raise CamwallError("coverage takes a tensor of finite draws [N]")
    size = len(values) // check_count("batches", batches)
    if size < 2:
        raise CamwallError(f"{len(values)} draws are too few for {batches} batches of at least 2")
    x = values[: size * batches].double().reshape(batches, size)
    half = stats.t.ppf(0.975, size - 1) * x.std(dim=1) / size**0.5
    return int(((x.mean(dim=1) - exact).abs() <= half).sum())


def _chunks(networks: int, floats_per_network: int) -> Iterator[int]:
    size = max(1, _CHUNK_FLOATS // floats_per_network)
    for start in range(0, check_count("networks", networks), size):
        yield min(size, networks - start)


def _draw(
    shape: Sequence[int], tau: float, generator: torch.Generator, law: WeightsLaw = "normal"
) -> Tensor:
    empty = torch.empty(*shape)
    if law == "normal":
        return empty.normal_(0, tau, generator=generator)
    bound = 3**0.5 * tau  # a uniform law of standard deviation τ
    return empty.uniform_(-bound, bound, generator=generator)


def draw_networks(
    setting: Setting,
    image: Tensor,
    *,
    filters: int,
    tau: float,
    networks: int,
    seed: int,
    head_widths: tuple[int, ...] = (),
    activation: Callable[[Tensor], Tensor] = torch.relu,
    weights: WeightsLaw = "normal",
) -> Iterator[Networks]:
    """Draw whole networks and differentiate them, chunk after chunk.

    A pooled cell's gradient goes to the first of its window's largest values, as PyTorch has it; in
    a dead window, where all are 0, to its first position.

    Parameters
    ----------
    setting : the sizes, and what the head reads.
    image : [H, W].
    networks : how many to draw in all.
    seed : of the ``torch.Generator`` that draws every parameter.
    activation : of the head's hidden layers, element by element.
    weights : the law of the head's parameters, normal or uniform, of standard deviation τ.

    Yields
    ------
    Networks
        The chunks' sizes add up to ``networks``.
    """
    k, (h, w), (rows, columns) = setting.kernel, setting.map_shape, setting.pooled_shape
    filters, tau = check_count("filters", filters), check_number("tau", tau, above=0)
    if weights not in get_args(WeightsLaw):
        raise CamwallError(f"weights must be 'normal' or 'uniform', not {weights!r}")
    patches = setting.patches(image).float()
    generator = torch.Generator().manual_seed(check_count("seed", seed, 0))
    head_widths = tuple(
        check_count("head_widths", n) for n in check_list("head_widths", head_widths)
    )
    sizes = (filters * setting.cells, *head_widths, 1)
    in_head = sum(a * b for a, b in pairwise(sizes))
    for n in _chunks(networks, filters * (k * k + 2 * h * w) + in_head):
        bank = _draw((n, filters, k, k), tau, generator)
        maps = torch.relu(bank.reshape(n * filters, k * k) @ patches).reshape(n, filters, h, w)
        layers = [_draw((n, b, a), tau, generator, weights) for a, b in pairwise(sizes)]
        layers[0].view(n, -1, filters, rows, columns)[..., setting.visible_rows :, :] = 0
        with torch.enable_grad():
            x = F.max_pool2d(maps.requires_grad_(), setting.pool).flatten(1)
            for layer in layers[:-1]:
                x = activation((layer * x[:, None]).sum(-1))
            scores = (layers[-1][:, 0] * x).sum(-1)
            (gradients,) = torch.autograd.grad(scores.sum(), maps)  # each score has maps of its own
        yield Networks(bank, tuple(layers), maps.detach(), gradients, scores.detach())


def simulate_gradcam(
    setting: Setting,
    image: Tensor,
    *,
    filters: int,
    tau: float,
    places: Sequence[tuple[int, int]],
    walls: Sequence[int],
    networks: int,
    seed: int,
) -> Tensor:
    """Draws of GC at chosen places for several wall heights, with a linear head.

    All places and walls share each network: its weights on the rows of pooled cells above a lower
    wall count for the higher ones too.

    Parameters
    ----------
    places : positions (i, j) of the map.
    walls : values of ``visible_rows``; they take the place of the setting's own.

    Returns
    -------
    Tensor [walls, places, networks] of float32.
    """
    chosen = setting.numbered(places)
    walls = [check_count("walls", rows, 0) for rows in check_list("walls", walls)]
    if not walls or min(walls) < 1 or max(walls) > setting.pooled_shape[0]:
        raise CamwallError(f"walls must be 1 to {setting.pooled_shape[0]} rows, not {walls}")
    filters, tau = check_count("filters", filters), check_number("tau", tau, above=0)
    patches = setting.patches(image).double()[:, chosen]
    # F·M = (F·Q)·R with M = QR: the entries of F·Q are independent N(0, τ²), at most one a place.
    responses = torch.linalg.qr(patches).R.float()
    heights = sorted(set(walls))
    rows = torch.tensor([b - a for a, b in pairwise((0, *heights))], dtype=torch.float32)
    spread = (rows * setting.pooled_shape[1]).sqrt()
    order = [heights.index(rows) for rows in walls]
    generator = torch.Generator().manual_seed(check_count("seed", seed, 0))
    out = []
    for n in _chunks(networks, filters * (len(responses) + len(places) + 2 * len(heights))):
        maps = _draw((n, filters, len(responses)), tau, generator) @ responses
        sums = _draw((n, filters, len(heights)), tau, generator) * spread
        sums = sums.cumsum(-1)[..., order]  # [n, V, walls]: Σ_c W[v, c] over the visible cells
        out.append(torch.relu(sums.transpose(1, 2) @ maps.relu_()) / setting.positions)
    return torch.cat(out).permute(1, 2, 0).contiguous()
