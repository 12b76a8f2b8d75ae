"""Every method of the register behind certified walls: is what the register says of it so?"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import camwall
from camwall.commands.check import default_stacks
from camwall.commands.survey import architecture

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from camwall.check import Report

#: Networks by what they are called in the tables; all but the first have random weights.
NETWORKS = {
    "EfficientNet-Lite0": None,
    "ViT": ("transformers", "vit"),
    "ResNet-18": ("torchvision", "resnet18"),
}
#: They run the network a hundred times or more for each map: asked of the first stack alone.
DEAR_METHODS = (
    *("ScoreCAM", "Opti-CAM", "SS-CAM", "IS-CAM"),
    *("Shapley sampling", "KernelSHAP", "LIME", "LIME (paper)", "RISE"),
)
REPAINTS = ("other", "noise")
#: Passes for each map that are too many.
MOST = 2000
#: Pixels a side of the maps that are kept for a figure.
KEPT = 112


def asked() -> list[str]:
    """All methods but variants; one of these has another mechanism than its original."""
    methods = camwall.METHODS
    return [name for name, m in methods.items() if m.variant_of is None or name == "LIME (paper)"]


def walled(name: str, photographs: list[Path]) -> "camwall.WalledModel":
    """One of `NETWORKS` behind a wall at 5/7 of its image's height, as STACK-OPEN is made for."""
    made = NETWORKS[name]
    if made is None:
        return camwall.build_wall(camwall.efficientnet_lite0(), 160)
    network, way, _ = architecture(*made, photographs)
    height, width = way.size
    return camwall.build_wall(
        network, camwall.Wall.rows(height, width, 5 * height // 7), preprocessing=way
    )


def expected(method: "camwall.Method", model: "camwall.WalledModel") -> bool | None:
    """What the register says of a method, for this wall.

    A CAM times the gradient at each pixel moves where a cell that is not read has visible pixels.
    """
    from torch.nn.functional import interpolate

    from camwall.methods import Mechanism

    if method.mechanism is Mechanism.GUIDED_CAM:
        cells = (~model.visible_cells)[None, None].float()
        unread = interpolate(cells, model.wall.shape)[0, 0].bool()
        return bool((unread & ~model.wall.hidden).any())
    return method.sees_through


def _row(report: "Report", name: str) -> dict[str, Any]:
    """What a check of one method found."""
    records, row = report.records, report.verdicts.loc[name]
    return {
        "images": len(records),
        "empty": int(records["empty"].sum()),
        "response": records["response"].max(),
        "leak": row["leak"],
        "leak_clear": records["leak_clear"].mean(),
        "verdict": row["verdict"],
        "cause": row["cause"],
        "seconds": records["seconds"].median(),
    }


def _small(shown: "Tensor") -> Any:
    """A map from 0 to 255, at the size that is kept."""
    from torch.nn.functional import interpolate

    small = interpolate(shown[None, None].float().abs(), (KEPT, KEPT), mode="area")[0, 0]
    return (255 * small / small.max().clamp(min=1e-12)).round().byte().numpy()


def _tried(
    model: "camwall.WalledModel", paths: list[Path], runs: Path
) -> Iterator[tuple[dict[str, Any], Any]]:
    """A row for each method, and its map of the first stack; or a row that says why there is none.

    What a method cannot follow does not end the trial: it is said in a line.
    """
    first = model.preprocessing.load(paths[:1])
    flat, channels = model.wall.flat_level, model.features(first).shape[1]
    for name in asked():
        method, dear = camwall.METHODS[name], name in DEAR_METHODS
        row: dict[str, Any] = {"method": name, "mechanism": method.mechanism.value}
        row |= {"engine": method.engines[0], "expected": expected(method, model), "flat": flat}
        passes = 2 * channels if name in ("SS-CAM", "IS-CAM") else 0
        if passes > MOST:
            yield row | {"why": f"not run: {passes} passes of the whole network a map"}, None
            continue
        try:
            report = camwall.check(
                model,
                paths[:1] if dear else paths,
                [name],
                repaints=REPAINTS,
                run=runs / ("first" if dear else "all"),
                progress=False,
            )
            shown = camwall.explain(model, first, name)[0]
        except camwall.CamwallError as error:
            yield row | {"why": str(error)}, None
            continue
        row |= _row(report, name) | {"why": ""}
        if row["empty"] == row["images"]:
            yield row | {"why": "its maps are 0 everywhere"}, None
            continue
        yield row | {"agrees": (row["response"] > 0) == row["expected"]}, shown


def trial(
    out: Path,
    *,
    images: Path | None = None,
    only: list[str] | None = None,
    limit: int = 4,
    command: str | None = None,
    progress: bool = True,
) -> "pd.DataFrame":
    """Ask every method of the register behind certified walls whether it sees through.

    On EfficientNet-Lite0, and on a vision transformer and a ResNet-18 with random weights. A run
    that was killed goes on at the method that it was at.

    Parameters
    ----------
    out : path
        Folder that gets ``table.csv`` (a row for each network and method: what the register says,
        response, leak, verdict, cause, and in ``why`` why there is none), ``maps.npz`` (each
        method's map of the first stack), ``manifest.json``, and under ``records/`` what a killed
        run needs to go on.
    images : path, optional
        Folder of stacks; STACK-OPEN, in the user's cache folder, if not given.
    only : list of str, optional
        These networks alone.
    limit : int
        Only the first so many images; of methods that run the network a hundred times, the first.
    command : str, optional
        The command to record, if not this process's.
    progress : bool
        Show a progress bar.

    Returns
    -------
    DataFrame
        For each network, how many methods agree with the register, and how many were not asked.
    """
    import numpy as np
    import pandas as pd
    from tqdm import tqdm

    from camwall import runs, stacks

    if unknown := set(only or ()) - NETWORKS.keys():
        raise camwall.CamwallError(
            f"unknown networks {', '.join(sorted(unknown))}; known: {', '.join(NETWORKS)}"
        )
    if images is None:
        images = default_stacks().folder
    paths, out = list(stacks.load(images).head(limit).paths), runs.made(out)
    rows, maps, certificates = [], {}, {}
    for network in [name for name in NETWORKS if only is None or name in only]:
        model = walled(network, paths)
        certificates[network] = str(camwall.certify(model, probes=1, repaints=2))
        tried = _tried(model, paths, out / "records" / network)
        for row, shown in tqdm(tried, network, total=len(asked()), disable=not progress):
            rows.append({"network": network, **row})
            if shown is not None:
                maps[f"{network}/{row['method']}"] = _small(shown)
        frame = pd.DataFrame(rows)
        runs.write_csv(out / "table.csv", frame)
        runs.write_atomic(out / "maps.npz", partial(np.savez_compressed, **maps))
    parameters: dict[str, Any] = {
        "images": images.name,
        "limit": limit,
        "only": only,
        "repaints": REPAINTS,
    }
    parameters |= {"dear": DEAR_METHODS, "networks": list(NETWORKS)}
    manifest = runs.manifest(parameters, seed=0, command=command, certificates=certificates)
    runs.write_json(out / "manifest.json", manifest)
    done = frame[frame["why"] == ""].astype({"agrees": bool})
    return pd.DataFrame(
        {
            "agree": done.groupby("network")["agrees"].sum(),
            "asked": done.groupby("network").size(),
            "not asked": frame[frame["why"] != ""].groupby("network").size(),
        }
    )


def load_trial(
    folder: Path,
) -> "tuple[pd.DataFrame, dict[tuple[str, str], Tensor], dict[str, Any]]":
    """What `trial` wrote: its table, maps [1, H, W] in [0, 1] by network and method, manifest.

    Maps are of the size of EfficientNet-Lite0's images.
    """
    import numpy as np
    import torch

    from camwall import runs
    from camwall.errors import in_one_line
    from camwall.methods.saliency import upsample

    folder, then = Path(folder), "run the trial again"
    with (
        in_one_line(f"{folder / 'maps.npz'} cannot be read", then),
        np.load(folder / "maps.npz", allow_pickle=False) as small,
    ):
        maps = {
            tuple(name.split("/")): upsample(torch.from_numpy(small[name])[None] / 255, (224, 224))
            for name in small
        }
    table = runs.read_csv(folder / "table.csv", then)
    return table, maps, runs.read_json(folder / "manifest.json", then)  # type: ignore[return-value]


def by_mechanism(measured: "pd.DataFrame", networks: dict[str, str]) -> "pd.DataFrame":
    """Response and leak in % of each network, by mechanism and method; a dash where there is none.

    ``networks`` says what each is called in the columns.
    """
    import pandas as pd

    from camwall.methods import Mechanism

    order = [str(mechanism) for mechanism in Mechanism]
    rows = measured.sort_values(
        "mechanism", key=lambda names: names.map(order.index), kind="stable"
    ).set_index(["mechanism", "method"])
    columns = {
        f"{what}, {name}, %": 100 * rows.loc[rows["network"] == network, what]
        for network, name in networks.items()
        for what in ("response", "leak")
    }

    def printed(value: float) -> str:
        if pd.isna(value):
            return "–"
        return f"{value:.0f}" if value >= 1 or value == 0 else f"{value:.1g}"

    frame = pd.DataFrame({name: values.map(printed) for name, values in columns.items()})
    return frame.reindex(rows.index.unique()).fillna("–")
