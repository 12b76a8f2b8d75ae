"""The registered methods on random simple CNNs: what each mechanism promises, measured."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from camwall import theory
from camwall.check import Report, bootstrap
from camwall.errors import CamwallError
from camwall.methods import METHODS, Mechanism, explain
from camwall.metrics import is_empty, leak, mean_leak
from camwall.models import MaskedModel
from camwall.wall import Wall

Row = dict[str, Any]


def summary(reports: Sequence[Report]) -> pd.DataFrame:
    """What each method does behind the wall in any of the reports, by its largest values.

    Returns
    -------
    DataFrame
        By mechanism and method, bleed left out: leaks and responses in %, the mean leak without
        empty maps, how many of these there are, and the verdict, a key of `camwall.check.VERDICTS`.
    """
    joined = replace(reports[0], records=pd.concat([report.records for report in reports]))
    table, measured = joined.table, joined.records.groupby("method")
    columns = {
        "mechanism": {name: METHODS[name].mechanism.value for name in joined.methods},
        "mean leak, %": 100 * table["clear"],
        "largest leak, %": 100 * measured["leak_clear"].max(),
        "median response, %": 100 * measured["response"].median(),
        "largest response, %": 100 * measured["response"].max(),
        "empty maps": table["empty"],
        "verdict": table["verdict"],
    }
    frame = pd.DataFrame(columns).rename_axis("method").set_index("mechanism", append=True)
    return frame.swaplevel().sort_index()


def prediction_rows(
    networks: Iterable[MaskedModel], images: Tensor, methods: Sequence[str], *, tau: float
) -> Iterator[Row]:
    """The leak that theory predicts from maps alone, beside the mean leak over random heads.

    The prediction comes from one image's maps and the law of the weights: 0 for weights at each
    position, else the mean over draws of the weights. EigenCAM has no weights, and is predicted by
    itself; its sign is arbitrary, so it is the corrected one.

    Parameters
    ----------
    networks : a simple CNN for each image; its scores are as many random heads on one trunk.
    images : tensor [N, 1, H, H]
    methods : names of methods.
    tau : standard deviation of the heads' weights.

    Yields
    ------
    dict
        ``method, trunk, predicted, measured, se``: leaks on the map's own grid, empty maps left
        out, and the standard error of the measured mean; ``own``, the leak of the image's patch
        norms, which knows no method.

    Raises
    ------
    CamwallError
        A method whose weights have no law.
    """
    for trunk, (model, image) in enumerate(zip(networks, images, strict=True)):
        setting = model.setting
        wall = Wall.rows(*setting.map_shape, setting.visible_map_rows)  # on the map's own grid
        own = float(leak(setting.patch_norms(image[0])[None], wall))
        with torch.no_grad():
            maps, heads = model.features(image[None])[0], model(image[None]).shape[1]
        cells, batch = setting.visible_cells(maps), image.expand(heads, -1, -1, -1)
        for method in methods:
            with torch.no_grad():
                if METHODS[method].mechanism is Mechanism.POSITION_WISE:
                    predicted = 0.0
                elif method == "EigenCAM (corrected)":
                    itself = explain(model, image[None], method, normalize=False)
                    predicted = mean_leak(itself, wall)[0]
                else:
                    drawn = theory.predicted_maps(method, maps, cells, tau)
                    predicted = mean_leak(drawn, wall)[0]
                raw = explain(model, batch, method, target=range(heads), normalize=False)
            measured, error = mean_leak(raw, wall)
            yield {
                "method": method,
                "trunk": trunk,
                "predicted": predicted,
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


def dial_rows(maps: Tensor, gradients: Tensor, wall: Wall, radii: Iterable[int]) -> Iterator[Row]:
    """The leak of :func:`camwall.theory.windowed_gradcam` against the radius, N networks or images.

    Parameters
    ----------
    maps, gradients : tensor [N, V, h, w]
    wall : Wall
        On the map's own grid.

    Raises
    ------
    CamwallError
        If all maps of some radius are empty.

    Yields
    ------
    dict
        ``radius``; ``energy``, √(Σ hidden squares / Σ squares) over all N maps, and ``leak``, the
        mean leak of the maps that are not empty, each with its 95 % bootstrap interval over the N,
        ``…_low`` and ``…_high``; ``empty``, the share of maps that are.
    """
    for radius in radii:
        shown = theory.windowed_gradcam(maps, gradients, radius).detach()
        lit = ~is_empty(shown)
        if not lit.any():
            raise CamwallError(f"all maps at radius {radius} are empty: they have no leak")
        leaks = leak(shown, wall)[lit].numpy()
        energy = shown.double().square().sum((1, 2))[lit].numpy()
        row = {"radius": radius, "empty": float((~lit).double().mean())}
        # The squares of the leaks, each counting as its map's energy, make the share of the whole.
        for name, power, weights in (("energy", 2, energy), ("leak", 1, None)):
            low, high = bootstrap(leaks**power, weights=weights, resamples=500)
            means = np.array([np.average(leaks**power, weights=weights), low, high])
            row |= zip((name, f"{name}_low", f"{name}_high"), means ** (1 / power), strict=True)
        yield row
