"""Every implementation on every case, beside the equation of its paper: the audit's table."""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from camwall.audit.cases import UNIT, Case, cases, given
from camwall.audit.implementations import Implementation, implementations
from camwall.audit.oracles import EQUATIONS
from camwall.errors import in_one_line
from camwall.methods import render
from camwall.metrics.response import change

if TYPE_CHECKING:
    import pandas as pd

#: Of pixels rather than of maps: what a copied map cannot tell apart.
OF_PIXELS = ("guided backpropagation", "guided GradCAM", "integrated gradients", "LRP-ε")


def shown(found: Tensor, size: tuple[int, int]) -> Tensor:
    """A map [h, w] as grad-cam shows it, at the image's size; pixels [C, H, W] over their largest.

    What is already shown so is not changed by more than 10⁻⁷.
    """
    found = found.double()
    if found.ndim == 2:
        return render(found[None], size)[0]
    largest = found.abs().max()
    return found / torch.where(largest > 0, largest, 1.0)


def response(before: Tensor, after: Tensor) -> float:
    """How far a map [h, w], cut at 0, or pixels [C, H, W] move under a repaint: `change`."""
    first, second = (each.clamp(min=0) if each.ndim == 2 else each for each in (before, after))
    return float(change(first[None], second[None])[0])


def _correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's; NaN where one of the two is constant."""
    pair = torch.stack([one.flatten(), other.flatten()])
    varied = (pair.amax(dim=1) > pair.amin(dim=1)).all()
    return float(torch.corrcoef(pair)[0, 1]) if varied else float("nan")


def rows(
    wanted: Iterable[Implementation] | None = None, inputs: Iterable[Case] | None = None
) -> Iterator[dict[str, Any]]:
    """Run implementations, by default all, on cases, by default all.

    Yields
    ------
    dict
        ``method, package, version, name, case``; ``difference``, the largest of a pixel between
        what is shown of the map and of the equation's, both in [0, 1], and their ``correlation``;
        ``response`` and ``equation_response``, how far each map moves when what the network cannot
        see is changed; ``note``, why there are none: a package that is not installed, an error.
    """
    of_cases = list(cases() if inputs is None else inputs)

    @cache
    def equation(method: str, index: int) -> tuple[Tensor, Tensor | None]:
        """The map of the paper's equation of a case's image and of its repaint, in float64."""
        case = of_cases[index]
        double = deepcopy(case.network).double()
        first, second = (
            None
            if each is None
            else torch.from_numpy(EQUATIONS[method](double, each.double(), UNIT))
            for each in (case.image, case.other)
        )
        assert first is not None
        return first, second

    for each in implementations() if wanted is None else wanted:
        for index, case in enumerate(of_cases):
            if each.method in OF_PIXELS and not isinstance(case.network.layer, nn.ReLU):
                continue
            row: dict[str, Any] = {
                "method": each.method,
                "package": each.package,
                "version": each.version,
                "name": each.name,
                "case": case.name,
            }
            if not each.version:
                yield row | {"note": f"not installed: pip install {each.package}"}
                continue
            try:
                with in_one_line("refused", "no map"):
                    found, moved = (
                        None if image is None else each(deepcopy(case.network), image)
                        for image in (case.image, case.other)
                    )
            except ValueError as error:
                yield row | {"note": str(error)}
                continue
            assert found is not None
            expected, repainted = equation(each.method, index)
            size = (case.image.shape[1], case.image.shape[2])
            pair = shown(found, size), shown(expected, size)
            row |= {
                "difference": float((pair[0] - pair[1]).abs().max()),
                "correlation": _correlation(*pair),
            }
            if moved is not None and repainted is not None:
                row["response"] = response(found, moved)
                row["equation_response"] = response(expected, repainted)
            yield row


def on_maps(
    methods: Iterable[str], maps: Tensor, gradients: Tensor, size: tuple[int, int]
) -> dict[str, Tensor]:
    """What the equation and each package that is installed make of the same maps and gradients.

    Parameters
    ----------
    methods : of `EQUATIONS`, those that need nothing else
    maps, gradients : tensors [N, V, h, w]
    size : (H, W)

    Returns
    -------
    dict
        ``"method (paper)"``, ``"method (package)"`` → what is shown, [N, H, W] in [0, 1].
    """
    networks = [given(b, g, 1.0) for b, g in zip(maps, gradients, strict=True)]
    found = {}
    for method in methods:
        found[f"{method} (paper)"] = [
            torch.from_numpy(EQUATIONS[method](deepcopy(each).double(), b.double(), UNIT))
            for each, b in zip(networks, maps, strict=True)
        ]
        for each in implementations():
            if each.method == method and each.version and each.package != "camwall":
                pairs = zip(networks, maps, strict=True)
                found[f"{method} ({each.package})"] = [each(deepcopy(n), b) for n, b in pairs]
    return {name: torch.stack([shown(m, size) for m in each]) for name, each in found.items()}


def summary(table: "pd.DataFrame") -> "pd.DataFrame":
    """One row for each implementation: its worst case, and whether it sees through, as its paper.

    Parameters
    ----------
    table : of `rows`.
    """
    groups = table.dropna(subset="difference").groupby(["method", "package", "name"], sort=False)
    worst = table.loc[groups["difference"].idxmax()]
    found = groups[["response", "equation_response"]].max() > 0
    found = found.rename(columns={"response": "sees", "equation_response": "equation sees"})
    return worst.set_index(["method", "package", "name"])[["case", "difference"]].join(found)
