"""The registered methods on random simple CNNs: what each mechanism promises, measured."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from camwall import theory
from camwall.methods import METHODS, Mechanism, explain, find
from camwall.methods.components import corrected
from camwall.methods.principal import first_component
from camwall.metrics import is_empty, leak, mean_leak, response
from camwall.models import MaskedModel, simple_cnn
from camwall.wall import Wall

Row = dict[str, Any]


def random_network_rows(
    images: Tensor, *, networks: int, filters: int = 16, visible_rows: int = 4, tau: float = 0.1
) -> Iterator[Row]:
    """Every registered method on every image in ``networks`` random simple CNNs.

    Parameters
    ----------
    images : tensor [N, 1, H, H]

    Yields
    ------
    dict
        ``method, mechanism, sees_through`` (what the register says), ``network`` (its seed),
        ``image``, ``leak`` (what interpolation fills left out), ``empty``, ``response``.
    """
    for seed in range(networks):
        model = simple_cnn(filters, 3, images.shape[-1], visible_rows, tau, seed)
        for method in METHODS.values():
            with torch.no_grad():
                maps = explain(model, images, method)
                moves = response(model, images, method)
            values = leak(maps, model.wall, clear_of=model.visible_cells)
            empty = is_empty(maps)
            for index in range(len(images)):
                yield {
                    "method": method.name,
                    "mechanism": method.mechanism.value,
                    "sees_through": method.sees_through,
                    "network": seed,
                    "image": index,
                    "leak": float(values[index]),
                    "empty": bool(empty[index]),
                    "response": float(moves[index]),
                }


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """What each method of `random_network_rows` does behind the wall, by its largest values.

    Returns
    -------
    DataFrame
        By mechanism and method: leaks and responses in %, the mean leak without empty maps, how
        many of these there are, and the verdict, a key of `camwall.check.report.VERDICTS`.
    """
    groups = rows.groupby(["mechanism", "method"])
    most = groups[["leak", "response"]].max()
    lit = rows["leak"].where(~rows["empty"]).groupby([rows["mechanism"], rows["method"]])
    verdict = np.select(
        [(most > 0).all(axis=1), most["response"] > 0, most["leak"] > 0],
        ["sees through", "changes elsewhere", "points there without looking"],
        "blind",
    )
    columns = {
        "mean leak, %": 100 * lit.mean(),
        "largest leak, %": 100 * most["leak"],
        "median response, %": 100 * groups["response"].median(),
        "largest response, %": 100 * most["response"],
        "empty maps": groups["empty"].sum(),
        "verdict": verdict,
    }
    return pd.DataFrame(columns)


def _cells_behind(model: MaskedModel) -> Wall:
    """The wall on the map's own grid."""
    return Wall.rows(*model.setting.map_shape, model.setting.visible_map_rows)


def predicted_leak(method: str, model: MaskedModel, image: Tensor, tau: float) -> float:
    """A method's mean leak by theory, from one image's maps and the law of the weights alone.

    0 for weights at each position; that of the principal projection for EigenCAM, whose own sign
    is arbitrary, with the corrected one; the mean over draws of the weights for others.

    Raises
    ------
    CamwallError
        A method whose weights have no law here.
    """
    if find(method).mechanism is Mechanism.POSITION_WISE:
        return 0.0
    wall = _cells_behind(model)
    with torch.no_grad():
        maps = model.features(image[None])[0]
    if method == "EigenCAM (corrected)":
        return float(leak(corrected(first_component(maps[None])).relu(), wall))
    visible, pool = model.setting.visible_rows, model.setting.pool
    drawn = theory.predicted_maps(method, maps, visible_rows=visible, tau=tau, pool=pool)
    return mean_leak(drawn, wall)[0]


def prediction_rows(
    images: Tensor,
    methods: Sequence[str],
    *,
    heads: int,
    filters: int = 16,
    visible_rows: int = 4,
    tau: float = 0.1,
) -> Iterator[Row]:
    """The leak that theory predicts from maps alone, beside the mean leak over random heads.

    Each image has a trunk of its own, under which ``heads`` heads are drawn: the scores of one
    network with as many classes.

    Parameters
    ----------
    images : tensor [N, 1, H, H]
    methods : names of methods as `predicted_leak` takes them.

    Yields
    ------
    dict
        ``method, trunk, predicted, measured, se``: leaks on the map's own grid, empty maps left
        out, and the standard error of the measured mean; ``own``, the leak of the image's patch
        norms, which knows no method.
    """
    for seed, image in enumerate(images):
        model = simple_cnn(filters, 3, images.shape[-1], visible_rows, tau, seed, classes=heads)
        energy = model.setting.patch_norms(image[0]) ** 2
        own = theory.energy_leak(energy, model.setting.visible_map_rows)
        batch = image.expand(heads, -1, -1, -1)
        for method in methods:
            with torch.no_grad():
                raw = explain(model, batch, method, target=range(heads), normalize=False)
            measured, error = mean_leak(raw, _cells_behind(model))
            yield {
                "method": method,
                "trunk": seed,
                "predicted": predicted_leak(method, model, image, tau),
                "measured": measured,
                "se": error,
                "own": own,
            }


def agreement(rows: pd.DataFrame) -> dict[str, float]:
    """How near the predicted leaks of `prediction_rows` lie to the measured.

    Returns
    -------
    dict
        ``correlation`` over all rows, and ``correlation within`` trunks, of what is left of both
        once each trunk's mean is taken off; ``correlation own``, of the image's own leak; ``gap``
        and ``gap own``, the mean distances from the measured leak, and ``largest gap``, in points;
        ``error``, the mean standard error in points, and ``largest in errors``.
    """
    measured = rows["measured"]
    gap = (rows["predicted"] - measured).abs()
    both = rows[["predicted", "measured"]]
    within = both - both.groupby(rows["trunk"]).transform("mean")
    return {
        "correlation": rows["predicted"].corr(measured),
        "correlation within": within["predicted"].corr(within["measured"]),
        "correlation own": rows["own"].corr(measured),
        "gap": 100 * gap.mean(),
        "gap own": 100 * (rows["own"] - measured).abs().mean(),
        "largest gap": 100 * gap.max(),
        "error": 100 * rows["se"].mean(),
        "largest in errors": (gap / rows["se"]).max(),
    }
