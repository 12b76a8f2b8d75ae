"""One check under several choices: what of a table is the methods', and what is the wall's."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn
from tqdm import tqdm

from camwall import runs, stacks
from camwall.check.report import Report, default_methods
from camwall.check.run import DEFAULT_METRICS, check
from camwall.errors import BlindnessError, CamwallError
from camwall.methods import METHODS, STUDIED, AnyMethod, repairs
from camwall.metrics import METRICS
from camwall.metrics.localisation import OUTLINE
from camwall.models import WalledModel, WholeModel, build_wall, efficientnet_lite0
from camwall.models.library import DEFAULT_ROW
from camwall.models.preprocessing import LITE
from camwall.stacks import Stacks
from camwall.wall import Wall, certify

#: Methods that run the trunk for each channel or step: asked on fewer stacks.
SLOW = ("ScoreCAM", "Opti-CAM")
#: Stacks on which the response of the slow ones is measured.
SLOW_RESPONSES = 6


@dataclass(frozen=True)
class Variant:
    """One choice: a model, the images it is checked on, what is measured of which methods.

    The slow methods are asked on the first ``slow`` of the images; without a list of methods the
    others are all that the engine has. Annotations are as `check` takes them.
    """

    name: str
    model: WalledModel
    images: Stacks
    metrics: Sequence[str] = DEFAULT_METRICS
    slow: int = 0
    methods: Sequence[AnyMethod] | None = None
    annotations: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def constructions(network: nn.Module, images: Stacks, slow: int = 0) -> Iterator[Variant]:
    """How the wall is built, on the same images; apart, the slow methods on a third of theirs.

    ``whole``; ``apart``; ``seen``, whose visible cells read the hidden pixels too, so that it is no
    wall and has no response; ``floor``, in which no pass sees a hidden pixel.
    """
    whole = build_wall(network, DEFAULT_ROW)
    yield Variant("whole", whole, images, slow=slow)
    apart = build_wall(network, DEFAULT_ROW, construction="apart")
    yield Variant("apart", apart, images, slow=slow // 3)
    yield Variant("seen", build_wall(network, DEFAULT_ROW, paint="none"), images, ["leak"])
    floor = build_wall(network, DEFAULT_ROW)
    assert isinstance(floor, WholeModel)
    floor.twins[1].register_forward_pre_hook(lambda _, given: (floor.seen(*given),))
    yield Variant("floor", floor, images)


def paints(network: nn.Module, images: Stacks, slow: int = 0) -> Iterator[Variant]:
    """What x̃ has in place of the hidden pixels."""
    for name in ("zero", "black", "white", "mean", "noise", "mirror"):
        yield Variant(name, build_wall(network, DEFAULT_ROW, paint=name), images, slow=slow)


def walls(network: nn.Module, images: Stacks, slow: int = 0) -> Iterator[Variant]:
    """Where the wall stands, each on stacks that are put together for it beside ``images``."""
    height, width = LITE.size
    side = height - DEFAULT_ROW
    shapes = {f"below-{row}": Wall.rows(height, width, row) for row in range(64, 161, 32)}
    shapes[f"above-{side}"] = Wall.rows(height, width, 0, side)
    shapes[f"left-of-{side}"] = Wall.columns(height, width, 0, side)
    shapes[f"right-of-{DEFAULT_ROW}"] = Wall.columns(height, width, DEFAULT_ROW)
    for name, wall in shapes.items():
        folder = images.folder.with_name(f"{images.folder.name}-{name}")
        made = stacks.open(folder, n=len(images), wall=wall.row or wall, progress=False)
        for construction in ("whole", "apart"):
            model = build_wall(network, wall, construction=construction)  # type: ignore[arg-type]
            yield Variant(f"{name}, {construction}", model, made, slow=slow)


def layers(network: nn.Module, images: Stacks, slow: int = 0) -> Iterator[Variant]:
    """Whose output the maps are: the last layer that gives maps, then the end of each stage."""
    for layer in (None, *(f"_blocks.{at}" for at in (15, 14, 10, 7, 4, 2, 0))):
        model = build_wall(network, DEFAULT_ROW, layer)
        yield Variant(model.layer.name, model, images, slow=slow)


#: What is compared by price beside the engine's methods: repairs and null repairs, and what any
#: method must beat.
BESIDE: tuple[AnyMethod, ...] = (
    repairs.windowed(1),
    repairs.windowed(2),
    repairs.GRADCAM_PP_AT_POSITION,
    repairs.gated(METHODS["GradCAM"]),
    repairs.cut_below(METHODS["GradCAM"], 5 / 7),
    repairs.flat,
    repairs.centre,
)
#: Those that run the whole network, and back, for each map and repaint: of grad-cam alone, and of
#: the pixels.
WHOLE: tuple[AnyMethod, ...] = (
    *(name for name in STUDIED if METHODS[name].raw is None),
    repairs.gradient,
    repairs.input_times_gradient,
)
#: Metrics that run the network on some twenty perturbed images for each map.
DEAR = ("deletion", "insertion")
#: Where EfficientNet-Lite0 is asked besides its last layer: the outputs of three earlier blocks.
EARLIER = ("_blocks.13", "_blocks.9", "_blocks.4")


def prices(network: nn.Module, images: Stacks, slow: int = 0) -> Iterator[Variant]:
    """What each method gives, by every metric, at the last layer and at earlier ones.

    The `DEAR` metrics, which look at the visible half alone, on one stack of each. The methods in
    `WHOLE`, the earlier layers, and the wall on top, on a third of the stacks.
    """
    cheap = [name for name in METRICS if name not in (*DEAR, "leak_clear")]  # comes with the leak
    methods = [*(name for name in default_methods() if name not in SLOW), *BESIDE]
    notes = {OUTLINE: list(stacks.outlines(images))}
    last = build_wall(network, DEFAULT_ROW)
    yield Variant("last layer", last, images, cheap, slow, methods, notes)
    each = replace(images, frame=images.frame.drop_duplicates("group"))
    yield Variant("last layer, perturbed", last, each, DEAR, 0, [*methods, *WHOLE])
    few = images.head(-(-len(images) // 3))
    notes = {OUTLINE: notes[OUTLINE][: len(few)]}
    yield Variant("last layer, whole network", last, few, cheap, 0, WHOLE, notes)
    for layer in EARLIER:
        model = build_wall(network, DEFAULT_ROW, layer)
        yield Variant(layer, model, few, cheap, 0, methods, notes)
    height, width = LITE.size
    top = Wall.rows(height, width, 0, height - DEFAULT_ROW)
    folder = images.folder.with_name(f"{images.folder.name}-above-{height - DEFAULT_ROW}")
    made = stacks.open(folder, n=len(images), wall=top, progress=False).head(len(few))
    notes = {OUTLINE: list(stacks.outlines(made))}
    yield Variant("wall on top", build_wall(network, top), made, cheap, 0, methods, notes)


STUDIES: dict[str, Callable[[nn.Module, Stacks, int], Iterator[Variant]]] = {
    "construction": constructions,
    "both": lambda *given: islice(constructions(*given), 2),
    "paint": paints,
    "wall": walls,
    "layer": layers,
    "price": prices,
}


def sweep(
    study: str, images: Stacks, out: str | Path, *, slow: int = 0, command: str | None = None
) -> Path:
    """Check EfficientNet-Lite0 under each choice of a study, and write one table of all.

    Parameters
    ----------
    study : str
        A name in `STUDIES`.
    images : Stacks
        Put together for a wall at row 160.
    out : path
        Gets ``table.csv`` and ``records.csv``, whose first column is the choice, ``stacks.csv``
        (what each image shows), ``manifest.json`` with each choice's wall and certificate (or how
        it was refused), and under ``records/`` what a killed run needs to go on.
    slow : int
        On how many of the images ScoreCAM and Opti-CAM are asked, which run the trunk for each
        channel or step; their response on the first `SLOW_RESPONSES` of these.
    command : str, optional
        The command to record, if not this process's.

    Returns
    -------
    path
        The folder, to be read by `load_sweep`.

    Raises
    ------
    CamwallError
        An unknown study; whatever `check` raises.
    """
    if study not in STUDIES:
        raise CamwallError(f"unknown study {study!r}; known: {', '.join(STUDIES)}")
    out = Path(out)
    tables, records, about, network = [], [], {}, efficientnet_lite0()
    for variant in tqdm(STUDIES[study](network, images, slow), f"study ({study})", unit="choice"):
        try:
            first = variant.images.images(variant.model.preprocessing, stop=2)
            said = str(certify(variant.model, first))
        except BlindnessError as error:
            said = f"refused: {error}"
        report = _checked(variant, out / "records" / variant.name)
        tables.append(report.table.reset_index().assign(variant=variant.name))
        records.append(report.records.assign(variant=variant.name))
        about[variant.name] = {
            "certificate": said,
            "wall": report.wall.as_json(),
            "random_level": report.random_level,
            "identity": report.identity,
        }
    for name, frames in (("table", tables), ("records", records)):
        joined = pd.concat(frames, ignore_index=True)
        joined.insert(0, "variant", joined.pop("variant"))
        # Six digits: a table of thousands of records stays small, and a zero stays a zero.
        floats = joined.select_dtypes("float").columns
        joined[floats] = joined[floats].map(lambda value: float(f"{value:.6g}"))
        runs.write_csv(out / f"{name}.csv", joined)
    shows = ("group", "variant", "visible_name", "hidden_name")
    frame = images.frame[[column for column in shows if column in images.frame]]
    runs.write_csv(out / "stacks.csv", frame.assign(image=[path.name for path in images.paths]))
    parameters = {"study": study, "images": images.folder.name, "n": len(images), "slow": slow}
    runs.write_json(
        out / "manifest.json", runs.manifest(parameters, command=command, variants=about)
    )
    return out


def load_sweep(folder: str | Path) -> dict[str, Report]:
    """The reports of a study that `sweep` wrote, by the name of the choice."""
    folder = Path(folder)
    about = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["variants"]
    records = pd.read_csv(folder / "records.csv", dtype={"image": str})
    table = pd.read_csv(folder / "table.csv")  # which knows the order of the methods
    return {
        name: Report(
            records=records[records["variant"] == name].drop(columns="variant"),
            wall=Wall.from_json(entry["wall"]),
            methods=tuple(table[table["variant"] == name]["method"]),
            random_level=entry["random_level"],
            identity=entry["identity"],
        )
        for name, entry in about.items()
    }


def priced(reports: Mapping[str, Report]) -> pd.DataFrame:
    """The table of the study of prices at the last layer: by method, every metric's mean.

    Parameters
    ----------
    reports : name → Report
        Of `load_sweep`.

    Returns
    -------
    DataFrame
        By method ``leak``, ``response`` and the other metrics as fractions with their intervals,
        ``images`` that they are over, the median ``seconds`` of a map.
    """
    asked = [reports["last layer"], reports["last layer, whole network"]]
    table = pd.concat([report.table for report in asked]).rename(columns={"mean": "leak"})
    seconds = pd.concat([report.records for report in asked]).groupby("method")["seconds"].median()
    dear = reports["last layer, perturbed"].table
    return table.assign(seconds=seconds, **{name: dear[name] for name in DEAR})


def _checked(variant: Variant, folder: Path) -> Report:
    """The report of one choice; the slow methods' responses on the first stacks only."""
    fast = variant.methods
    if fast is None:
        fast = [name for name in default_methods() if name not in SLOW]

    def part(methods: Sequence[AnyMethod], first: int, end: int, metrics: Sequence[str], run: Path):
        images = replace(variant.images, frame=variant.images.frame.iloc[first:end])
        notes = {name: values[first:end] for name, values in variant.annotations.items()}
        options: dict[str, Any] = {"metrics": metrics, "annotations": notes, "run": run}
        return check(variant.model, images, methods, **options, progress=methods is not fast)

    report = part(fast, 0, len(variant.images), variant.metrics, folder)
    slow = min(variant.slow, len(variant.images))
    if not slow:
        return report
    few = min(SLOW_RESPONSES, slow)
    parts = [part(SLOW, 0, few, variant.metrics, folder / "slow-1")]
    if few < slow:
        rest = [name for name in variant.metrics if name not in ("response", "class_sensitivity")]
        parts.append(part(SLOW, few, slow, rest, folder / "slow-2"))
    records = pd.concat([report.records, *(part.records for part in parts)], ignore_index=True)
    order = [name for name in default_methods() if name in (*report.methods, *SLOW)]
    order += [name for name in report.methods if name not in order]
    return replace(report, records=records, methods=tuple(order))
