"""The rows of the chapters' tables: the exact law against Monte Carlo, poolings, heads."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from camwall.theory.dial import windowed_gradcam
from camwall.theory.gradcam import (
    gradcam_bound,
    gradcam_mean,
    gradcam_mean_bounds,
    gradcam_positive,
    gradcam_second_moment,
)
from camwall.theory.montecarlo import coverage, draw_networks, simulate_gradcam, summarise
from camwall.theory.setting import Setting

Row = dict[str, float | int | str]


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
    """One row for each number of filters, seed, wall and place, as they are finished.

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
        draws = simulate_gradcam(
            setting,
            image,
            filters=count,
            tau=tau,
            places=places,
            walls=walls,
            networks=networks,
            seed=seed,
        )
        for (a, wall), (b, place) in product(enumerate(walls), enumerate(places)):
            size: dict[str, Any] = {
                "filters": count,
                "positions": setting.positions,
                "patch_norm": float(norms[place]),
                "tau": tau,
            }
            visible = replace(setting, visible_rows=wall).visible
            exact = {
                "mean": gradcam_mean(visible=visible, **size),
                "second_moment": gradcam_second_moment(visible=visible, **size),
                "positive": gradcam_positive(filters=count) if norms[place] > 0 else 0.0,
            }
            found = summarise(draws[a, b])
            row: Row = {
                "filters": count,
                "seed": seed,
                "visible_rows": wall,
                "visible": visible,
                "row": place[0],
                "column": place[1],
                "patch_norm": float(norms[place]),
                "networks": networks,
                "bound": float(gradcam_bound(cells=2 * visible, **size)),
                "lower": float(gradcam_mean_bounds(visible=visible, **size)[0]),
            }
            for name, value in exact.items():
                estimate = getattr(found, name)
                row |= {
                    f"{name}_exact": float(value),
                    name: estimate.value,
                    f"{name}_se": estimate.standard_error,
                    f"{name}_z": estimate.errors_from(float(value)),
                }
            row["holding"], row["intervals"] = coverage(draws[a, b], float(exact["mean"]), batches)
            yield row


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


def pooling_rows(maps: Tensor, visible_rows: int, *, seed: int = 0) -> Iterator[Row]:
    """What each of `POOLINGS` hands on of random weights on the first rows of its cells.

    Yields
    ------
    dict
        ``pooling``, and ``difference``, the largest over networks and channels between the sum of
        the gradient at the maps, by autograd, and the sum of the weights.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, pooling in POOLINGS.items():
        leaf = maps.detach().clone().requires_grad_()
        cells = pooling(leaf)[:, :, :visible_rows]
        weights = torch.randn(cells.shape, generator=generator)
        (gradient,) = torch.autograd.grad((weights * cells).sum(), leaf)
        difference = (gradient.sum((2, 3)) - weights.sum((2, 3))).abs().max()
        yield {"pooling": name, "difference": float(difference)}


def looseness_rows(filters: Sequence[int]) -> Iterator[Row]:
    """How many times the exact mean exceeds each lower bound, for half of W visible.

    Yields
    ------
    dict
        ``filters``, ``paper`` (NaN where that bound is not positive), ``elementary``, and
        ``wide``, the mean over its wide limit. Sizes of the network cancel in all three.
    """
    size: dict[str, Any] = {"positions": 1, "patch_norm": 1.0, "tau": 1.0}
    for count in map(int, filters):
        exact = gradcam_mean(filters=count, visible=1, **size)
        paper = gradcam_bound(filters=count, cells=2, **size)
        lower, wide = gradcam_mean_bounds(filters=count, visible=1, **size)
        yield {
            "filters": count,
            "paper": float(exact / paper) if paper > 0 else float("nan"),
            "elementary": float(exact / lower),
            "wide": float(exact / wide),
        }


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
    seed: int = 0,
) -> Iterator[Row]:
    """GradCAM's mean under heads with one hidden layer, over the exact mean of the ReLU head.

    Parameters
    ----------
    heads : name -> ``activation`` and ``weights`` of :func:`camwall.theory.draw_networks`.

    Yields
    ------
    dict
        ``head, width, ratio, se``; whole networks are drawn, gradient and all.
    """
    norm = float(setting.patch_norms(image)[place])
    whole = max(setting.map_shape) - 1
    for (name, change), width in product(heads.items(), widths):
        shape: dict[str, Any] = {"filters": filters, "tau": tau, "head_widths": (width,)}
        chunks = draw_networks(setting, image, networks=networks, seed=seed, **shape, **change)
        values = [
            windowed_gradcam(c.maps, c.gradients, whole)[:, place[0], place[1]] for c in chunks
        ]
        found = summarise(torch.cat(values)).mean
        exact = float(
            gradcam_mean(
                visible=setting.visible, positions=setting.positions, patch_norm=norm, **shape
            )
        )
        yield {
            "head": name,
            "width": width,
            "ratio": found.value / exact,
            "se": found.standard_error / exact,
        }
