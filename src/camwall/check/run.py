"""The loop of a check: images streamed, work shared, finished records kept."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import groupby, repeat
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from camwall.as_found import evaluating, outside_inference_mode
from camwall.check.folder import COLUMNS, OF_RECORDS, Column
from camwall.check.gallery import drawn, gathered_in, pictured
from camwall.check.images import AnyImages, ImageSet
from camwall.check.report import OF_TABLE, Report, default_methods
from camwall.check.store import Record, RecordStore
from camwall.check.verdicts import FINDINGS, VERDICT, to_be_tried
from camwall.errors import CamwallError, check_count, check_kind, check_list
from camwall.identity import digest, model_digest
from camwall.methods import AnyMethod, Engine, Evidence, Method, Saliency, chosen
from camwall.methods.evidence import as_target, check_images
from camwall.metrics import METRICS, REPAINTS, AnyMetric, Metric, is_empty, random_level, repaint
from camwall.metrics import chosen as chosen_metrics
from camwall.metrics.experiments import experiments
from camwall.metrics.response import blind_scores, changes
from camwall.models import WalledModel, require_walled
from camwall.processes import gathered, processes

#: What a verdict is made of.
DEFAULT_METRICS = ("response", "leak")


@outside_inference_mode
def check(
    model: WalledModel,
    images: AnyImages,
    methods: Sequence[AnyMethod] | None = None,
    *,
    metrics: Sequence[AnyMetric] = DEFAULT_METRICS,
    repaints: Sequence[str] = REPAINTS,
    labels: Sequence[int] | None = None,
    annotations: Mapping[str, Sequence[Any]] | None = None,
    target: int | Sequence[int] | None = None,
    run: str | Path | None = None,
    batch: int = 1,
    engine: Engine = "camwall",
    progress: bool = True,
) -> Report:
    """Measure whether saliency methods see through a model's wall, and how much they show there.

    Images are read as they are needed and all methods of our engine work from one pass over them.
    Under ``accelerate launch`` the batches are shared out over the processes, and each of them
    returns the same report. Under ``torch.autocast`` exact zeros may not stay so.

    Parameters
    ----------
    model : WalledModel
        Left as found.
    images : tensor [N, C, H, W], stacks, folder, or sequence of paths
        Network inputs, or files that ``model.preprocessing`` reads.
    methods : sequence of str, Method or function, optional
        All methods of the engine if not given. A function takes (model, images, target) and returns
        maps [N, H, W]; it appears in the table under its name.
    metrics : sequence of str, Metric or function
        Names in `camwall.metrics.METRICS`, or metrics of one's own: each is a column of
        ``report.records``, and its mean with an interval one of ``report.table``.
    repaints : sequence of str
        What the response is measured under; ``other`` takes the hidden pixels of the next image.
    labels : sequence of int, optional
        The classes of the images, for the accuracy; stacks bring their own.
    annotations : name → one value for each image, optional
        What a metric asks of the images beyond their pixels, as a mask [H, W] of the animal; a set
        of images brings those of its attribute of that name.
    target : int or sequence of int, optional
        The classes to explain; each image's top class if not given.
    run : path, optional
        A folder that keeps finished records: the same call takes a killed run up where it stopped.
        Methods and metrics are known by their names alone: give a function that you have changed
        another name, or another folder.
    batch : int
        Images that go through the network together; a kill loses at most the records of one batch
        and method.
    engine : "camwall", or a package: "grad-cam", "captum", "torch-cam", "zennit"
    progress : bool
        Show a progress bar.

    Returns
    -------
    Report
        ``report.table`` is a DataFrame, ``report.plot()`` a figure.

    Raises
    ------
    CamwallError
        Unknown methods or metrics; unreadable images; maps of the wrong shape or with NaN; scores
        that are not finite; a run folder of another model or other images.

    Examples
    --------
    >>> from camwall.testing import some_images, walled_model
    >>> model = walled_model()
    >>> images = some_images(model)
    >>> report = check(model, images, ["GradCAM", "HiResCAM"], progress=False)
    >>> report.verdicts["verdict"].to_dict()
    {'GradCAM': 'sees through', 'HiResCAM': 'blind'}
    """
    batch = check_count("batch", batch)
    repaints = check_list("repaints", repaints)
    require_walled(model)
    asked = chosen(default_methods(engine) if methods is None else methods, engine)
    measured = chosen_metrics(metrics)
    said = [metric.name for metric in measured]
    if taken := [name for name in said if name in (*OF_RECORDS, *OF_TABLE)]:
        raise CamwallError(f"a table has a column {taken[0]}: give the metric another name")
    if "leak" in said and "leak_clear" not in said:
        measured.append(METRICS["leak_clear"])  # the verdict hangs on it
    if annotations is not None:
        check_kind("annotations", annotations, Mapping)
    pictures = ImageSet(images, model.preprocessing, labels, annotations)
    for metric in measured:
        if metric.repaints and not repaints:
            raise CamwallError(f"a {metric.name} needs at least one repaint")
        if metric.annotation is not None and metric.annotation not in pictures.annotations:
            raise CamwallError(
                f"the metric {metric.name} needs the images' {metric.annotation}: give check "
                f"annotations={{{metric.annotation!r}: one value for each image}}, or leave it out"
            )
    notes = {metric.annotation for metric in measured} & pictures.annotations.keys()
    painted = list(repaints) if any(metric.repaints for metric in measured) else []
    state, device = processes(), next(model.parameters()).device

    def repainted(group: range, loaded: Tensor) -> list[Tensor]:
        others = loaded
        if "other" in painted:
            # The next image of the set, not of the batch: what is measured hangs on no batch size.
            following = [(i + 1) % len(pictures) for i in group]
            alone = len(pictures) == 1
            others = loaded.flip((2, 3)) if alone else pictures.load(following).to(loaded)
        return [repaint(name, model, loaded, others) for name in painted]

    with evaluating(model):
        first = pictures.load([0]).to(device)
        check_images(model, first)
        scores = blind_scores(model, first, repainted(range(1), first))
    targets = None
    if target is not None:
        targets = as_target(target, scores.expand(len(pictures), -1)).tolist()
    for name, label in zip(pictures.names, pictures.labels or (), strict=False):
        if not 0 <= label < scores.shape[1]:
            raise CamwallError(
                f"label {label} of image {name} is not one of the model's {scores.shape[1]} classes"
            )
    identity = {
        "layer": str(model.layer),
        "wall": model.wall.as_json(),
        "visible cells": digest([model.visible_cells]),
        "ground": model.ground,
        "model": model_digest(model),
        "metrics": said,
        "repaints": painted,
        "images": pictures.digest(state, progress),
        "preprocessing": str(model.preprocessing),
        "labels": pictures.labels,
        "annotations": {name: digest(pictures.annotations[name]) for name in notes},
        "engine": engine,
        "autocast": torch.is_autocast_enabled(device.type),
        "target": targets,
    }
    with state.main_process_first():  # it looks at the folder before any process writes there
        sound = partial(_sound, metrics=said)
        store = RecordStore(run, identity, state.process_index, scores[0, :16].tolist(), sound)
    with closing(store):  # until all are done: who comes now would tidy away what others write
        names = [method.name for method in asked]
        done = {(each["image"], each["method"]) for each in store.found if "trial" not in each}
        batches = [range(i, min(i + batch, len(pictures))) for i in range(0, len(pictures), batch)]
        # Who does what depends on the batches alone, not on what is done: two processes never meet.
        work = [
            (group, method)
            for group in batches[state.process_index :: state.num_processes]
            for method in asked
            if any((pictures.names[i], method.name) not in done for i in group)
        ]
        bar = tqdm(
            total=sum(len(group) for group, _ in work),
            desc="check",
            unit="map",
            disable=not progress or not state.is_main_process,
        )
        with bar, evaluating(model):
            for group, missing in groupby(work, key=itemgetter(0)):
                loaded = pictures.load(group).to(device)
                classes = None if targets is None else [targets[i] for i in group]
                with torch.no_grad():
                    evidence = Evidence(model, loaded, classes)
                    evidence.repaints = evidence.repainted(*repainted(group, loaded))
                evidence.annotations = pictures.notes(group)
                for _, method in missing:
                    bar.set_postfix_str(method.name, refresh=False)
                    store.add(_measured(pictures, group, evidence, method, measured, painted))
                    bar.update(len(group))
        found = store.found + gathered(store.added)
        frame = _joined(found, pictures, names)
        # What to try is known once all is measured, so that it hangs on no order.
        known = {(each["image"], each["method"]) for each in found if "trial" in each}
        trials = [each for each in to_be_tried(frame, names) if each not in known]
        with evaluating(model):
            for image, name in tqdm(
                trials[state.process_index :: state.num_processes],
                desc="causes",
                disable=not progress or not state.is_main_process or not trials,
            ):
                index = pictures.names.index(image)
                loaded = pictures.load([index]).to(device)
                with torch.no_grad():
                    evidence = Evidence(model, loaded, targets and targets[index])
                trial = experiments(evidence, asked[names.index(name)])._asdict()
                store.add([{"image": image, "method": name, "trial": trial}])
        found = store.found + gathered(store.added)
    return Report(
        records=_joined(found, pictures, names),
        gallery=gathered_in(found, pictures.names, names),
        wall=model.wall,
        methods=tuple(names),
        random_level=random_level(model.wall, tuple(model.visible_cells.shape)),
        identity=identity,
    )


def _sound(record: Record, metrics: Sequence[str]) -> bool:
    """Whether a record is one of `_measured` with these metrics, or of a trial; of any values."""
    held = {**record}
    held.pop("group", None)  # which runs once kept
    if "trial" in held:
        trial = held.pop("trial")
        held, wanted = trial | held, {"image", "method", *FINDINGS}
        if trial.keys() != {*FINDINGS}:
            return False
    else:
        if "pictures" in held:
            picture, shown = held.pop("pictures")
            drawn(picture, (1, 1)), drawn(shown, (1, 1))
        wanted = {*COLUMNS, *metrics} - {*FINDINGS} - ({"rank"} - held.keys())
    json.dumps(held, ensure_ascii=False).encode()  # what no table could be written with
    columns = {name: COLUMNS.get(name, Column()) for name in held}
    return held.keys() == wanted and all(
        type(held[name]) in column.types and (str in column.types or column.within(held[name]))
        for name, column in columns.items()
    )


def _joined(found: list[Record], images: ImageSet, methods: Sequence[str]) -> pd.DataFrame:
    """The records of images and methods, in this order, with what their trials found."""
    keys = ["image", "method"]
    wanted = pd.MultiIndex.from_product([images.names, methods], names=keys)
    measured = pd.DataFrame([each for each in found if "trial" not in each])
    measured = measured.drop(columns="pictures", errors="ignore").drop_duplicates(keys)
    tried = [{**each, **each["trial"]} for each in found if "trial" in each]
    trials = pd.DataFrame(tried, columns=[*keys, *FINDINGS]).drop_duplicates(keys)
    frame = measured.set_index(keys).loc[wanted].reset_index()
    # No part of what is kept: another manifest of the same images may group them otherwise.
    frame["group"] = frame["image"].map(dict(zip(images.names, images.groups, strict=True)))
    return frame.merge(trials.astype(dict.fromkeys(FINDINGS, float)), on=keys, how="left")


def _measured(
    pictures: ImageSet,
    group: range,
    evidence: Evidence,
    method: Method,
    metrics: Sequence[Metric],
    repaints: Sequence[str],
) -> list[Record]:
    """What is measured of one method on the images of a pass."""
    names, scores = [pictures.names[i] for i in group], evidence.scores.detach()
    start = time.perf_counter()
    shown = (maps := Saliency(evidence, method)).shown
    seconds = (time.perf_counter() - start) / len(group)
    for name, each in zip(names, shown, strict=True):
        if not torch.isfinite(each).all():
            raise CamwallError(
                f"{method.name}'s map of image {name} holds NaN or infinite values; its leak "
                "has no meaning"
            )
    columns: dict[str, Iterable[Any]] = {
        "image": names,
        "method": repeat(method.name),
        "target": evidence.target.tolist(),
        **dict.fromkeys(VERDICT, repeat(torch.nan)),  # where they are not asked for
        **{each.name: [*map(float, each(evidence, maps).tolist())] for each in metrics},
        "empty": is_empty(shown).tolist(),
        "prediction": scores.argmax(dim=1).tolist(),
        "seconds": repeat(seconds),
        "mechanism": repeat(str(method.mechanism) if method.sees_through else None),
        "repaint": repeat(None),
    }
    if any(metric is METRICS["response"] for metric in metrics):
        most = changes(evidence, maps).max(dim=0)
        columns["repaint"] = [
            repaints[which] if moved else None for moved, which in zip(*most, strict=True)
        ]
    if pictures.labels is not None:
        labels = torch.tensor([pictures.labels[i] for i in group], device=scores.device)
        columns["rank"] = (scores > scores.gather(1, labels[:, None])).sum(dim=1).tolist()
    rows = zip(*columns.values(), strict=False)  # what is repeated ends with the others
    records = [dict(zip(columns, row, strict=True)) for row in rows]
    for place, (number, record) in enumerate(zip(group, records, strict=True)):
        if number in pictures.shown:
            image = evidence.images[place]
            record["pictures"] = pictured(image, shown[place], evidence.model.preprocessing)
    return records
