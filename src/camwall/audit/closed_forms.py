"""The closed forms of the theory against drawn networks and autograd: the chapters' tables."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from camwall import theory
from camwall.methods import cams
from camwall.theory import GradCAMLaw, Setting

Row = dict[str, Any]


def montecarlo_rows(
    setting: Setting,
    image: Tensor,
    *,
    filters: Sequence[int],
    walls: Sequence[int],
    places: Sequence[tuple[int, int]],
    tau: float,
    networks: int,
    seeds: Sequence[int],
    batches: int = 100,
) -> Iterator[Row]:
    """GradCAM's law: one row for each number of filters, seed, wall and place, when it is finished.

    Yields
    ------
    dict
        ``filters, seed, visible_rows, visible, row, column, patch_norm, networks``; for each of
        ``mean, second_moment, positive`` the exact value (``…_exact``), the estimate, its
        standard error (``…_se``) and its distance from the exact value in standard errors
        (``…_z``); ``bound``, the paper's with 2n for h'w', and ``lower``, the elementary one;
        ``intervals`` and ``holding``, how many 95 % intervals from disjoint batches there are and
        how many hold the exact mean.
    """
    norms = setting.patch_norms(image)
    for count, seed in product(filters, seeds):
        request: dict[str, Any] = {"filters": count, "tau": tau, "networks": networks, "seed": seed}
        draws = theory.simulate_gradcam(setting, image, places=places, walls=walls, **request)
        for (a, wall), (b, place) in product(enumerate(walls), enumerate(places)):
            x, norm = draws[a, b].double(), float(norms[place])
            visible = replace(setting, visible_rows=wall).visible
            size: dict[str, Any] = {"positions": setting.positions, "patch_norm": norm, "tau": tau}
            law = GradCAMLaw(filters=count, visible=visible, **size)
            row: Row = {
                "filters": count,
                "seed": seed,
                "visible_rows": wall,
                "visible": visible,
                "row": place[0],
                "column": place[1],
                "patch_norm": norm,
                "networks": networks,
                "bound": law.bound,
                "lower": law.mean_bounds[0],
            }
            for name, values in {"mean": x, "second_moment": x**2, "positive": x > 0}.items():
                exact, estimate = getattr(law, name), theory.Estimate.of(values)
                row |= {
                    f"{name}_exact": exact,
                    name: estimate.value,
                    f"{name}_se": estimate.standard_error,
                    f"{name}_z": estimate.errors_from(exact),
                }
            holding = theory.coverage(x, float(law.mean), batches)
            yield row | {"holding": holding, "intervals": batches}


#: Poolings of maps [N, V, h, w]: ties go to the first position but where they are shared.
POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "max, 2×2": lambda maps: F.max_pool2d(maps, 2),
    "max, 3×3": lambda maps: F.max_pool2d(maps, 3),
    "max, 2×2, ties shared": lambda maps: maps.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5)),
    "max, 3×3, overlapping": lambda maps: F.max_pool2d(maps, 3, stride=1),
    "average, 2×2": lambda maps: F.avg_pool2d(maps, 2),
    "average, 3×3": lambda maps: F.avg_pool2d(maps, 3),
    "average, 3×3, overlapping": lambda maps: F.avg_pool2d(maps, 3, stride=1),
    "average, 3×3, zeros around": lambda maps: F.avg_pool2d(maps, 3, stride=2, padding=1),
}


def pooling_rows(maps: Tensor, visible_rows: int) -> Iterator[Row]:
    """What each of `POOLINGS` hands on of random weights on the first rows of its cells.

    Yields
    ------
    dict
        ``pooling``, and ``difference``, the largest over networks and channels between the sum of
        the gradient at the maps, by autograd, and the sum of the weights.
    """
    generator = torch.Generator().manual_seed(0)
    for name, pooling in POOLINGS.items():
        leaf = maps.detach().clone().requires_grad_()
        cells = pooling(leaf)[:, :, :visible_rows]
        weights = torch.randn(cells.shape, generator=generator)
        (gradient,) = torch.autograd.grad((weights * cells).sum(), leaf)
        difference = (gradient.sum((2, 3)) - weights.sum((2, 3))).abs().max()
        yield {"pooling": name, "difference": float(difference)}


def head_rows(
    setting: Setting,
    image: Tensor,
    place: tuple[int, int],
    *,
    heads: Mapping[str, Mapping[str, Any]],
    widths: Sequence[int],
    filters: int,
    tau: float,
    networks: int,
) -> Iterator[Row]:
    """GradCAM's mean under heads with one hidden layer, over the exact mean of the ReLU head.

    Parameters
    ----------
    heads : name -> ``activation`` and ``weights`` of :func:`camwall.theory.draw_networks`.

    Yields
    ------
    dict
        ``head, width, ratio, se``, from whole networks, gradient and all.
    """
    norm = float(setting.patch_norms(image)[place])
    for (name, change), width in product(heads.items(), widths):
        shape: dict[str, Any] = {"filters": filters, "tau": tau, "head_widths": (width,)}
        drawn = shape | dict(change) | {"networks": networks, "seed": 0}
        chunks = theory.draw_networks(setting, image, **drawn)
        values = [cams.gradcam(c.maps, c.gradients)[:, *place].relu() for c in chunks]
        law = GradCAMLaw(
            visible=setting.visible, positions=setting.positions, patch_norm=norm, **shape
        )
        ratio = theory.Estimate.of(torch.cat(values).double() / float(law.mean))
        yield {"head": name, "width": width, "ratio": ratio.value, "se": ratio.standard_error}
