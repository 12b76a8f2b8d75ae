"""The loop of a check: images streamed, work shared, finished records kept."""

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pandas as pd
import torch
from accelerate.utils import gather_object
from torch import Tensor
from tqdm import tqdm

from camwall.as_found import evaluating, finite, outside_inference_mode
from camwall.check.images import ImageSet, Source, model_digest
from camwall.check.report import Report, default_methods
from camwall.check.store import Record, RecordStore
from camwall.errors import CamwallError
from camwall.methods import Engine, Evidence, Method, chosen, saliency, shown
from camwall.methods.evidence import as_target, check_images
from camwall.methods.explain import AnyMethod
from camwall.metrics import REPAINTS, is_empty, leak, random_level, repaint
from camwall.metrics.response import check_blind, largest_change
from camwall.models import WalledModel
from camwall.processes import processes

#: What `check` can measure of a map.
METRICS = ("response", "leak")


@outside_inference_mode
def check(
    model: WalledModel,
    images: ImageSet,
    methods: Sequence[AnyMethod] | None = None,
    *,
    metrics: Sequence[str] = METRICS,
    repaints: Sequence[str] = REPAINTS,
    labels: Sequence[int] | None = None,
    target: int | Sequence[int] | None = None,
    run: str | Path | None = None,
    batch: int = 1,
    engine: Engine = "camwall",
    autocast: bool = False,
    progress: bool = True,
) -> Report:
    """Measure whether saliency methods see through a model's wall, and how much they show there.

    Images are read as they are needed and all methods of our engine work from one pass over them.
    Under ``accelerate launch`` the batches are shared out over the processes, and each of them
    returns the same report.

    Parameters
    ----------
    model : WalledModel
        Left as found.
    images : tensor [N, C, H, W], stacks, folder, or sequence of paths
        Network inputs, or files that ``model.preprocessing`` reads.
    methods : sequence of str, Method or function, optional
        All methods of the engine if not given. A function takes (model, images, target) and returns
        maps [N, H, W]; it appears in the table under its name.
    metrics : sequence of str
        ``response`` (`camwall.response`: repaints of each image, and a map for each) and ``leak``.
    repaints : sequence of str
        What the response is measured under; ``other`` takes the hidden pixels of the next image.
    labels : sequence of int, optional
        The classes of the images, for the accuracy; stacks bring their own.
    target : int or sequence of int, optional
        The classes to explain; each image's top class if not given.
    run : path, optional
        A folder that keeps finished records: the same call takes a killed run up where it stopped.
        A method's records are known by its name alone: give a function that you have changed
        another name, or another folder.
    batch : int
        Images that go through the network together; a kill loses at most the records of one batch
        and method.
    engine : "camwall" or "grad-cam"
    autocast : bool
        Let torch lower the precision (bfloat16). Off for tables: half of a map's digits go, and
        exact zeros may not stay so.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Report
        ``report.table`` is a DataFrame, ``report.plot()`` a figure.

    Raises
    ------
    CamwallError
        Unknown methods; unreadable images; maps of the wrong shape or with NaN; scores that are not
        finite; a run folder of another model or other images.
    """
    if batch < 1:
        raise CamwallError(f"batch must be at least 1, not {batch}")
    asked = chosen(default_methods(engine) if methods is None else methods, engine)
    named = {method.name: method for method in asked}
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise CamwallError(f"metrics are some of {', '.join(METRICS)}, not {list(metrics)}")
    repaints = list(repaints) if "response" in metrics else []
    if "response" in metrics and not repaints:
        raise CamwallError("a response needs at least one repaint")
    source = Source(model, images, labels)
    state, device = processes(), next(model.parameters()).device
    with torch.no_grad(), evaluating(model):
        first = source.load([0]).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            check_images(model, first)
            scores = finite(model(first))
            check_blind(model, first, _repainted(model, source, range(1), first, repaints))
    targets = None
    if target is not None:
        targets = as_target(target, scores.expand(len(source), -1)).tolist()
    for name, label in zip(source.names, source.labels or (), strict=False):
        if not 0 <= label < scores.shape[1]:
            raise CamwallError(
                f"label {label} of image {name} is not one of the model's {scores.shape[1]} classes"
            )
    identity = {
        "model": model_digest(model),
        "wall": model.wall.as_json(),
        "ground": model.ground,
        "metrics": list(metrics),
        "repaints": repaints,
        "images": source.digest(state, progress),
        "preprocessing": str(model.preprocessing),
        "labels": source.labels,
        "engine": engine,
        "autocast": autocast,
        "target": targets,
    }
    with state.main_process_first():  # it looks at the folder before any process writes there
        store = RecordStore(run, identity, state.process_index)
    with closing(store):  # until all are done: who comes now would tidy away what others write
        batches = [range(i, min(i + batch, len(source))) for i in range(0, len(source), batch)]
        # Who does what depends on the batches alone, not on what is done: two processes never meet.
        mine = batches[state.process_index :: state.num_processes]
        done = {(record["image"], record["method"]) for record in store.found}
        bar = tqdm(
            total=sum(len(group) for group in mine) * len(named),
            initial=sum(
                (source.names[i], name) in done for group in mine for i in group for name in named
            ),
            desc="check",
            unit="map",
            disable=not progress or not state.is_main_process,
        )
        with bar, evaluating(model):
            for group in mine:
                files = [source.names[i] for i in group]
                missing = [n for n in named if any((file, n) not in done for file in files)]
                if not missing:
                    continue
                loaded = source.load(group).to(device)
                with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                    classes = None if targets is None else [targets[i] for i in group]
                    with torch.no_grad():
                        shared = Evidence(model, loaded, classes)
                        painted = _repainted(model, source, group, loaded, repaints)
                        moved = shared.repainted(*painted)
                    for name in missing:
                        bar.set_postfix_str(name, refresh=False)
                        method = named[name]
                        records = _records(source, group, shared, moved, method, metrics)
                        store.add(records)
                        bar.update(len(group))
        added = gather_object(store.added) if state.num_processes > 1 else store.added
    records = store.found + added
    frame = _ordered(records, source.names, list(named))
    groups = dict(zip(source.names, source.groups, strict=True))
    return Report(
        records=frame.assign(group=frame["image"].map(groups)),
        wall=model.wall,
        methods=tuple(named),
        random_level=random_level(model.wall, model.visible_cells.shape),
        identity=identity,
    )


def _repainted(
    model: WalledModel, source: Source, group: range, images: Tensor, repaints: Sequence[str]
) -> list[Tensor]:
    """The images of a group under each repaint."""
    others = images
    if "other" in repaints:
        # The next image of the set, not of the batch: what is measured hangs on no batch size.
        following = [(i + 1) % len(source) for i in group]
        alone = len(source) == 1
        others = images.flip((2, 3)) if alone else source.load(following).to(images)
    return [repaint(name, model, images, others) for name in repaints]


def _records(
    source: Source,
    group: range,
    shared: Evidence,
    moved: Sequence[Evidence],
    method: Method,
    metrics: Sequence[str],
) -> list[Record]:
    """What is measured of one method on the images of a pass and its repaints."""
    wall, cells_read = shared.model.wall, shared.model.visible_cells
    start = time.perf_counter()
    name, found = method.name, saliency(shared, method)
    # Single precision where autocast gave less; double stays double.
    maps = shown(found.to(torch.promote_types(found.dtype, torch.float32)), method, wall.shape)
    seconds = (time.perf_counter() - start) / len(group)
    scores = shared.scores.detach()
    for i, each in zip(group, maps, strict=True):
        if not torch.isfinite(each).all():
            raise CamwallError(
                f"{name}'s map of image {source.names[i]} holds NaN or infinite values; its leak "
                "has no meaning"
            )
    leaks = clear = responses = torch.full((len(group),), torch.nan)
    if "leak" in metrics:
        leaks, clear = leak(maps, wall), leak(maps, wall, clear_of=cells_read)
    if "response" in metrics:
        responses = largest_change(found, shared, moved, method)
    columns = zip(
        group,
        shared.target.tolist(),
        leaks.tolist(),
        clear.tolist(),
        is_empty(maps).tolist(),
        responses.tolist(),
        scores.argmax(dim=1).tolist(),
        strict=True,
    )
    rows: list[Record] = []
    for position, (i, target, whole, beyond, empty, moves, prediction) in enumerate(columns):
        record: Record = {
            "image": source.names[i],
            "method": name,
            "target": target,
            "leak": whole,
            "leak_clear": beyond,
            "empty": empty,
            "response": moves,
            "prediction": prediction,
            "seconds": seconds,
        }
        if source.labels is not None:
            row, label = scores[position], source.labels[i]
            record["rank"] = int((row > row[label]).sum())
        rows.append(record)
    return rows


def _ordered(records: list[Record], images: list[str], methods: list[str]) -> pd.DataFrame:
    """The records by image and method in the order asked for, each once."""
    wanted = pd.MultiIndex.from_product([images, methods], names=["image", "method"])
    frame = pd.DataFrame(records).drop_duplicates(["image", "method"])
    return frame.set_index(["image", "method"]).loc[wanted].reset_index()
