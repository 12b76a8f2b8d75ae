"""Monte Carlo over random simple CNNs, thousands at once, with closed-form gradients.

Two samplers. :func:`draw_networks` draws whole networks, parameter by parameter, and carries out
everything: convolution, ReLU, pooling, head, the gradient through the head and its routing back to
the maps. It serves every method and is checked against autograd. :func:`simulate_gradcam` draws
what GradCAM at the asked positions depends on and nothing else: the filters' responses to those
patches, and the sums of the head's weights, since pooling hands each cell's gradient to exactly
one position. Both are Gaussian vectors, a few numbers a channel where a network has dozens.

Both work in chunks of bounded memory; the chunks depend on the sizes alone, so a seed fixes every
draw. Draws are float32, sums are kept in float64.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from camwall.errors import CamwallError
from camwall.theory.chi import check_count, check_real
from camwall.theory.setting import Setting

WeightsLaw = Literal["normal", "uniform"]
_CHUNK_FLOATS = 2**18  # 1 MiB of float32: stays in the caches, and bounds memory


@dataclass(frozen=True)
class Networks:
    """A chunk of N random networks and what one image makes of them.

    Attributes
    ----------
    filters : [N, V, k, k].
    layers : the head's matrices, first [N, N₁ or 1, V·h'w'] (hidden cells 0), last [N, 1, ·].
    maps : B, [N, V, h, w].
    pooled : P, [N, V, h', w'].
    gradients : ∂f/∂B, [N, V, h, w].
    scores : f, [N].
    """

    filters: Tensor
    layers: tuple[Tensor, ...]
    maps: Tensor
    pooled: Tensor
    gradients: Tensor
    scores: Tensor

    @classmethod
    def join(cls, chunks: Iterable["Networks"]) -> "Networks":
        """All chunks as one; only for as many networks as memory holds."""
        parts = list(chunks)
        layers = zip(*(part.layers for part in parts), strict=True)
        return cls(
            layers=tuple(torch.cat(layer) for layer in layers),
            **{
                name: torch.cat([getattr(part, name) for part in parts])
                for name in ("filters", "maps", "pooled", "gradients", "scores")
            },
        )


@dataclass(frozen=True)
class Estimate:
    """A Monte Carlo mean with its standard error."""

    value: float
    standard_error: float

    def errors_from(self, exact: float) -> float:
        """How many standard errors the estimate lies from ``exact`` (signed)."""
        if self.value == exact:  # without spread there is no error to divide by
            return 0.0
        return (self.value - exact) / self.standard_error if self.standard_error else math.inf


@dataclass(frozen=True)
class Moments:
    """Estimates of E[X], E[X²] and P(X > 0)."""

    mean: Estimate
    second_moment: Estimate
    positive: Estimate


def summarise(values: Tensor) -> Moments:
    """E[X], E[X²] and P(X > 0) with standard errors from draws [N] of X."""
    x = values.double()

    def estimate(y: Tensor) -> Estimate:
        return Estimate(float(y.mean()), float(y.std() / len(y) ** 0.5))

    return Moments(estimate(x), estimate(x**2), estimate((x > 0).double()))


def coverage(values: Tensor, exact: float, batches: int = 100) -> tuple[int, int]:
    """How many of ``batches`` disjoint 95 % intervals for the mean hold ``exact``, and of how many.

    Draws [N] are cut into equal batches; each has its own Student interval.
    """
    size = len(values) // check_count("batches", batches)
    if size < 2:
        raise CamwallError(f"{len(values)} draws are too few for {batches} batches of at least 2")
    x = values[: size * batches].double().reshape(batches, size)
    half = stats.t.ppf(0.975, size - 1) * x.std(dim=1) / size**0.5
    return int(((x.mean(dim=1) - exact).abs() <= half).sum()), batches


def _chunks(networks: int, floats_per_network: int) -> Iterator[int]:
    size = max(1, _CHUNK_FLOATS // floats_per_network)
    for start in range(0, check_count("networks", networks), size):
        yield min(size, networks - start)


def _draw(
    shape: Sequence[int], tau: float, generator: torch.Generator, law: WeightsLaw = "normal"
) -> Tensor:
    empty = torch.empty(*shape, device=generator.device)
    if law == "normal":
        return empty.normal_(0, tau, generator=generator)
    bound = 3**0.5 * tau  # a uniform law of standard deviation τ
    return empty.uniform_(-bound, bound, generator=generator)


def _generator(seed: int, device: str) -> torch.Generator:
    return torch.Generator(device=device).manual_seed(seed)


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
    device: str = "cpu",
) -> Iterator[Networks]:
    """Draw whole networks and differentiate them by hand, chunk after chunk.

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
    filters, tau = check_count("filters", filters), float(check_real("tau", tau))
    patches = setting.patches(image.to(device, torch.float32))
    generator = _generator(seed, device)
    sizes = (filters * setting.cells, *head_widths, 1)
    if weights not in get_args(WeightsLaw):
        raise CamwallError(f"weights must be 'normal' or 'uniform', not {weights!r}")
    in_head = sum(a * b for a, b in pairwise(sizes))
    for n in _chunks(networks, filters * (k * k + 2 * h * w) + in_head):
        bank = _draw((n, filters, k, k), tau, generator)
        maps = torch.relu(bank.reshape(n * filters, k * k) @ patches).reshape(n, filters, h, w)
        pooled, index = F.max_pool2d(maps, setting.pool, return_indices=True)
        layers = [_draw((n, b, a), tau, generator, weights) for a, b in pairwise(sizes)]
        layers[0].view(n, -1, filters, rows, columns)[..., setting.visible_rows :, :] = 0
        scores, gradient = _head(pooled.reshape(n, -1, 1), layers, activation)
        routed = torch.zeros(n, filters, h * w, device=device).scatter_(
            2, index.reshape(n, filters, -1), gradient.reshape(n, filters, -1)
        )
        yield Networks(bank, tuple(layers), maps, pooled, routed.reshape(maps.shape), scores)


def _head(
    features: Tensor, layers: list[Tensor], activation: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Scores [N] of the head on features [N, d, 1] and their gradients [N, 1, d]."""
    gates = []
    for layer in layers[:-1]:
        before = (layer @ features).requires_grad_()
        with torch.enable_grad():
            features = activation(before)
            # One element each: the gradient of the sum is the activation's own derivative.
            gates.append(torch.autograd.grad(features.sum(), before)[0])
        features = features.detach()
    scores = (layers[-1] @ features).flatten()
    gradient = layers[-1]
    for layer, gate in zip(reversed(layers[:-1]), reversed(gates), strict=True):
        gradient = (gradient * gate.transpose(1, 2)) @ layer
    return scores, gradient


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
    device: str = "cpu",
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
    h, w = setting.map_shape
    if not places or not all(0 <= i < h and 0 <= j < w for i, j in places):
        raise CamwallError(f"places must lie on the {h}x{w} map, not {list(places)}")
    if not walls or not all(1 <= rows <= setting.pooled_shape[0] for rows in walls):
        raise CamwallError(f"walls must be 1 to {setting.pooled_shape[0]} rows, not {list(walls)}")
    filters, tau = check_count("filters", filters), float(check_real("tau", tau))
    patches = setting.patches(image.double())[:, [i * w + j for i, j in places]]
    # F·M = (F·Q)·R with M = QR: the entries of F·Q are independent N(0, τ²), at most one a place.
    responses = torch.linalg.qr(patches).R.to(device, torch.float32)
    heights = sorted(set(walls))
    rows = torch.tensor([b - a for a, b in pairwise((0, *heights))], dtype=torch.float32)
    spread = (rows * setting.pooled_shape[1]).sqrt().to(device)
    order = [heights.index(rows) for rows in walls]
    generator = _generator(seed, device)
    out = []
    for n in _chunks(networks, filters * (len(responses) + len(places) + 2 * len(heights))):
        maps = _draw((n, filters, len(responses)), tau, generator) @ responses
        sums = _draw((n, filters, len(heights)), tau, generator) * spread
        sums = sums.cumsum(-1)[..., order]  # [n, V, walls]: Σ_c W[v, c] over the visible cells
        out.append(torch.relu(sums.transpose(1, 2) @ maps.relu_()) / setting.positions)
    return torch.cat(out).permute(1, 2, 0).contiguous().cpu()
