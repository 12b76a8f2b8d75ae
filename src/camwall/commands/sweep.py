"""One check under several choices: what of a table is the methods', and what is the wall's."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn
from tqdm import tqdm

from camwall import runs, stacks
from camwall.check import folder as files
from camwall.check.report import Report, columns, default_methods
from camwall.check.run import DEFAULT_METRICS, check
from camwall.commands.kinds import kinds
from camwall.errors import BlindnessError, CamwallError, in_one_line
from camwall.methods import METHODS, STUDIED, AnyMethod, Method, chosen, explain, repairs
from camwall.metrics import METRICS
from camwall.metrics.experiments import ROUNDING
from camwall.metrics.localisation import OUTLINE
from camwall.models import WalledModel, WholeModel, build_wall, efficientnet_lite0, without_wall
from camwall.models.library import DEFAULT_ROW, efficientnet_lite1
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


class FloorModel(WholeModel):
    """The maps behind the wall are of x̃ too: no pass sees a hidden pixel."""

    def unseen(self, images: Tensor) -> Tensor:
        return self.seen(images)

    @property
    def ground(self) -> str:
        return (
            "by construction for every input, of a network that keeps nothing from call to call: "
            "scores and maps on both sides are functions of the image with its hidden pixels "
            f"painted ({self.paint}) alone"
        )


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
    given = whole.layer, whole.wall, whole.visible_cells, whole.preprocessing
    yield Variant("floor", FloorModel(network, *given).eval(), images)


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
        made = _made_for(wall, name, images)
        for construction in ("whole", "apart"):
            model = build_wall(network, wall, construction=construction)  # type: ignore[arg-type]
            yield Variant(f"{name}, {construction}", model, made, slow=slow)


def _made_for(wall: Wall, name: str, images: Stacks) -> Stacks:
    """As many of STACK-OPEN, put together for another wall."""
    folder = images.folder.with_name(f"{images.folder.name}-{name}-{len(images)}")
    return stacks.open(folder, n=len(images), wall=wall.row or wall, progress=False)


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
#: The choices that are the last layer's too, with the methods or the metrics that are dear.
APART = ("last layer, whole network", "last layer, slow")
PERTURBED = "last layer, perturbed"
#: Where EfficientNet-Lite0 is asked besides its last layer: the outputs of three earlier blocks.
EARLIER = ("_blocks.13", "_blocks.9", "_blocks.4")
#: Where its wall begins besides row 160.
HEIGHTS = (96, 128)


def prices(network: nn.Module, images: Stacks, slow: int = 0) -> Iterator[Variant]:
    """What each method gives, by every metric, at the last layer and at earlier ones.

    The `DEAR` metrics, which look at the visible half alone, on one stack of each. The methods in
    `WHOLE`, the earlier layers, and the wall on top, on a third of the stacks.
    """
    cheap, methods = _of_prices()
    last = build_wall(network, DEFAULT_ROW)
    yield _outlined("last layer", last, images, cheap, methods)
    each = replace(images, frame=images.frame.drop_duplicates("group"))
    yield Variant(PERTURBED, last, each, DEAR, methods=[*methods, *WHOLE])
    few = images.head(-(-len(images) // 3))
    yield _outlined(APART[0], last, few, cheap, WHOLE)
    for layer in EARLIER:
        yield _outlined(layer, build_wall(network, DEFAULT_ROW, layer), few, cheap, methods)
    height, width = LITE.size
    side = height - DEFAULT_ROW
    top = Wall.rows(height, width, 0, side)
    made = _made_for(top, f"above-{side}", images).head(len(few))
    yield _outlined("wall on top", build_wall(network, top), made, cheap, methods)


def prices_beyond(network: nn.Module, images: Stacks, slow: int = 0) -> Iterator[Variant]:
    """What the study of prices leaves out: another network, other heights, the slow methods.

    These by every metric on ``slow`` stacks, each of another visible half.
    """
    cheap, methods = _of_prices()
    another = build_wall(efficientnet_lite1(), DEFAULT_ROW)
    yield _outlined("EfficientNet-Lite1", another, images, cheap, methods)
    for row in HEIGHTS:
        wall = Wall.rows(*LITE.size, row)
        made = _made_for(wall, f"below-{row}", images)
        yield _outlined(f"wall at row {row}", build_wall(network, wall), made, cheap, methods)
    if slow:
        some = one_of_each(images).head(slow)
        yield _outlined(APART[1], build_wall(network, DEFAULT_ROW), some, [*cheap, *DEAR], SLOW)


def _of_prices() -> tuple[list[str], list[AnyMethod]]:
    """The metrics but for the dear ones, and the methods but for the slow ones."""
    cheap = [name for name in METRICS if name not in (*DEAR, "leak_clear")]  # comes with the leak
    return cheap, [*(name for name in default_methods() if name not in SLOW), *BESIDE]


def _outlined(
    name: str,
    model: WalledModel,
    images: Stacks,
    metrics: Sequence[str],
    methods: Sequence[AnyMethod],
) -> Variant:
    notes = {OUTLINE: list(stacks.outlines(images))}
    return Variant(name, model, images, metrics, methods=methods, annotations=notes)


def one_of_each(images: Stacks) -> Stacks:
    """One stack of each visible half, with what is behind the wall in turn."""
    groups = images.frame.groupby("group")
    turn = groups.ngroup() % groups["group"].transform("size")
    return replace(images, frame=images.frame[groups.cumcount() == turn])


def peaks(path: Path) -> pd.DataFrame:
    """The most memory of a method's first map, with its pass, above the loaded model's, in MiB.

    Of EfficientNet-Lite0 behind its wall and one image; each method in a process of its own.
    """
    found = {}
    for name in tqdm(_priced_methods(), "memory", unit="method"):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            found[name] = alone.submit(_peak, path, name).result()
    return pd.DataFrame({"method": list(found), "peak_mib": list(found.values())})


def _priced_methods() -> dict[str, Method]:
    methods = chosen([*_of_prices()[1], *WHOLE, *SLOW])
    return {method.name: method for method in methods}


def _peak(path: Path, name: str) -> float:
    model = build_wall(efficientnet_lite0(), DEFAULT_ROW)
    images = model.preprocessing.load([path])
    peak = runs.peak_memory()
    explain(model, images, _priced_methods()[name])
    return peak()


#: Whose distance from gradient times activation is found layer by layer.
BY_LAYER = ("GradCAM", "GradCAM++", "XGradCAM", "AblationCAM", "LayerCAM", "EigenCAM")
#: The ends of the stages of the two EfficientNets, and the last layer.
STAGES = {"EfficientNet-Lite0": (4, 7, 9, 11, 13, 15), "EfficientNet-Lite1": (6, 10, 14, 19, 20)}


def layer_by_layer(network: nn.Module, images: Stacks, slow: int = 0) -> Iterator[Variant]:
    """How far methods are from gradient times activation without a wall, by network and layer.

    On the images with one animal, where they say which these are; the slow methods at each layer of
    the first network and at the last of the others. A variant is ``network: layer``.
    """
    alone = images.frame.get("variant", pd.Series("none", images.frame.index)) == "none"
    some = replace(images, frame=images.frame[alone])
    trained = dict(zip(STAGES, (network, efficientnet_lite1()), strict=True))
    tried: dict[str, tuple[nn.Module, Sequence[str | None]]] = {
        f"{name}, ImageNet": (each, [*(f"_blocks.{at}" for at in STAGES[name]), None])
        for name, each in trained.items()
    }
    tried |= {f"{name}, random": given for name, given in kinds().items()}
    for name, (each, layers) in tried.items():
        for layer in layers:
            model = without_wall(each, DEFAULT_ROW, layer)
            some_slow = slow if each is network or layer is None else 0
            title = f"{name}: {model.layer.name}"
            yield Variant(title, model, some, ["distance"], some_slow, BY_LAYER)


STUDIES: dict[str, Callable[[nn.Module, Stacks, int], Iterator[Variant]]] = {
    "construction": constructions,
    "both": lambda *given: islice(constructions(*given), 2),
    "paint": paints,
    "wall": walls,
    "layer": layers,
    "price": prices,
    "beyond": prices_beyond,
    "distance": layer_by_layer,
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
        it was refused), and under ``records/`` what a killed run needs to go on. The study
        ``beyond`` also has ``memory.csv``, of `peaks` for all methods with a price.
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
    out = runs.made(out)
    written: list[Path] = []
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
    if study == "beyond":
        written.append(runs.write_csv(out / "memory.csv", peaks(images.paths[0])))
    for name, frames in (("table", tables), ("records", records)):
        joined = pd.concat(frames, ignore_index=True)
        joined.insert(0, "variant", joined.pop("variant"))
        # Six digits: a table of thousands of records stays small, and a zero stays a zero.
        floats = joined.select_dtypes("float").columns
        joined[floats] = joined[floats].map(lambda value: float(f"{value:.6g}"))
        written.append(runs.write_csv(out / f"{name}.csv", joined))
    shows = ("group", "variant", "visible_name", "hidden_name")
    frame = images.frame[[column for column in shows if column in images.frame]]
    frame = frame.assign(image=[path.name for path in images.paths])
    written.append(runs.write_csv(out / "stacks.csv", frame))
    parameters = {"study": study, "images": images.folder.name, "n": len(images), "slow": slow}
    more: dict[str, Any] = {"variants": about, "files": runs.seals(written)}
    runs.write_json(out / "manifest.json", runs.manifest(parameters, command=command, **more))
    return out


def load_sweep(folder: str | Path) -> dict[str, Report]:
    """The reports of a study that `sweep` wrote, by the name of the choice.

    Raises
    ------
    CamwallError
        No such folder; files that cannot be read, or do not belong together.
    """
    folder, then = Path(folder), "run the study again"
    manifest = runs.read_json(folder / "manifest.json", then)
    runs.check_seals(folder, manifest, then)
    records = files.read_records(folder / "records.csv", ["variant"])
    table = runs.read_csv(folder / "table.csv", then)  # which knows the order of the methods
    with in_one_line(f"{folder} holds no study", then, ours=True):
        reports = {
            name: Report(
                records=records[records["variant"] == name].drop(columns="variant"),
                methods=tuple(table[table["variant"] == name]["method"]),
                **files.about(entry, folder / "manifest.json"),
            )
            for name, entry in manifest["variants"].items()
        }
        for name, report in reports.items():
            if {*report.methods} != {*report.records["method"]}:
                raise ValueError(f"the methods of {name} are not the same in its two tables")
    return reports


def priced(reports: Mapping[str, Report]) -> pd.DataFrame:
    """The table of prices at the last layer: by method, every metric's mean.

    Parameters
    ----------
    reports : name → Report
        Of the studies of prices and beyond, by `load_sweep`.

    Returns
    -------
    DataFrame
        By method ``leak``, ``response`` and the other metrics as fractions with their intervals,
        ``images`` that they are over, the median ``seconds`` of a map.
    """
    parts = [reports[name] for name in ("last layer", *APART) if name in reports]
    records = pd.concat([report.records for report in parts])
    tables = [report.table for report in (*parts, reports[PERTURBED])]
    dear = [name for metric in DEAR for name in columns(metric)]
    table = pd.concat([each.drop(columns=dear, errors="ignore") for each in tables[:-1]])
    table = table.join(pd.concat([each[dear] for each in tables if dear[0] in each]))
    seconds = records.groupby("method")["seconds"].median()
    return table.rename(columns={"mean": "leak"}).assign(seconds=seconds)


def rank_agreement(
    reports: Mapping[str, Report], metric: str, *, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """How far the order of the methods at the last layer is that of each other choice.

    Parameters
    ----------
    reports : name → Report
        Of the studies of prices and beyond, by `load_sweep`.
    metric : str
        A column of the records.

    Returns
    -------
    DataFrame
        By choice Spearman's ``correlation`` over the methods of the register, those left out that
        the metric gives 0 both times; its 95 % percentile interval ``low`` to ``high`` as visible
        halves are drawn anew, the same for both; the number of ``methods`` and of ``halves``.
    """
    rng, rows = np.random.default_rng(seed), {}

    def by_half(report: Report) -> pd.DataFrame:
        records = report.records[report.records["method"].isin(list(METHODS))]
        return records[~records["empty"]].pivot_table(metric, "group", "method")

    first = by_half(reports["last layer"])
    for name, report in reports.items():
        if name in ("last layer", *APART, PERTURBED):
            continue
        second = by_half(report)
        both = [first.align(second, "inner")[i].to_numpy() for i in (0, 1)]
        zero = [np.abs(np.nanmean(values, axis=0)) <= ROUNDING for values in both]
        both = [values[:, ~(zero[0] & zero[1])] for values in both]
        halves, methods = both[0].shape
        drawn = rng.integers(halves, size=(resamples, halves))
        drawn[0] = np.arange(halves)  # the halves themselves
        ranks = [
            pd.DataFrame(np.nanmean(values[drawn], axis=1)).rank(axis=1).to_numpy()
            for values in both
        ]
        moved = [each - each.mean(axis=1, keepdims=True) for each in ranks]
        sizes = [np.linalg.norm(each, axis=1) for each in moved]
        found = (moved[0] * moved[1]).sum(axis=1) / (sizes[0] * sizes[1])
        low, high = np.quantile(found[1:], [0.025, 0.975])
        rows[name] = (found[0], low, high, methods, halves)
    index = ["correlation", "low", "high", "methods", "halves"]
    return pd.DataFrame(rows, index=index).T.astype({"methods": int, "halves": int})


def by_layer(reports: Mapping[str, Report]) -> pd.DataFrame:
    """The study of distances as `metrics.distances` gives it, by ``network`` and ``layer``."""
    rows = {tuple(name.split(": ")): report.table["distance"] for name, report in reports.items()}
    return pd.DataFrame(rows).T.rename_axis(["network", "layer"])


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
