"""The exact law against Monte Carlo, case by case: the rows of a table."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from torch import Tensor

from camwall.theory.gradcam import (
    gradcam_bound,
    gradcam_mean,
    gradcam_positive,
    gradcam_second_moment,
)
from camwall.theory.montecarlo import coverage, simulate_gradcam, summarise
from camwall.theory.setting import Setting

Row = dict[str, float | int]


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
        (``…_z``); ``bound``, the paper's with 2n for h'w'; ``intervals`` and ``holding``, how many
        95 % intervals from disjoint batches there are and how many hold the exact mean.
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
                "positions": setting.positions,
                "patch_norm": float(norms[place]),
                "tau": tau,
            }
            visible = replace(setting, visible_rows=wall).visible
            exact = {
                "mean": gradcam_mean(filters=count, visible=visible, **size),
                "second_moment": gradcam_second_moment(filters=count, visible=visible, **size),
                "positive": gradcam_positive(filters=count),
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
                "bound": float(gradcam_bound(filters=count, cells=2 * visible, **size)),
            }
            for name, value in exact.items():
                estimate = getattr(found, name)
                row |= {
                    f"{name}_exact": float(value),
                    name: estimate.value,
                    f"{name}_se": estimate.standard_error,
                    f"{name}_z": estimate.errors_from(float(value)),
                }
            row["holding"], row["intervals"] = coverage(draws[a, b], row["mean_exact"], batches)
            yield row
