"""A check as a recorded run: from names and a folder to a table with its manifest."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from camwall import runs, stacks
from camwall.check.report import Report
from camwall.check.run import DEFAULT_METRICS, check
from camwall.methods import Engine
from camwall.models import Construction
from camwall.models.library import DEFAULT_ROW, named_model
from camwall.processes import processes
from camwall.wall import Wall, certify


def evaluate(
    images: str | Path,
    out: str | Path,
    *,
    network: str | None = None,
    wall: int | Wall = DEFAULT_ROW,
    construction: Construction = "whole",
    paint: str = "zero",
    checkpoint: str | Path | None = None,
    methods: Sequence[str] | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    limit: int | None = None,
    batch: int = 1,
    engine: Engine = "camwall",
    autocast: bool = False,
    command: str | None = None,
    progress: bool = True,
) -> Report:
    """Certify a network, check methods on a folder of stacks, and write the table.

    Parameters
    ----------
    images : path
        A folder that a builder of `camwall.stacks` wrote, or any folder of images.
    out : path
        Gets ``table.csv``, ``records.csv``, ``stacks.csv`` (what each image shows),
        ``manifest.json``, and under ``records/`` what a killed run needs to go on.
    network, wall, construction, paint, checkpoint
        As `named_model` takes them.
    methods, metrics, batch, engine, autocast, progress
        As `check` takes them.
    limit : int, optional
        Only the first so many images.
    command : str, optional
        The command to record, if not this process's.

    Warns
    -----
    UserWarning
        If the stacks were made for another wall than the model's.

    Returns
    -------
    Report

    Raises
    ------
    CamwallError, BlindnessError
        As `named_model`, `certify` and `check` raise them.
    """
    state = processes()
    model = named_model(
        network, wall=wall, construction=construction, paint=paint, checkpoint=checkpoint
    ).to(state.device)
    chosen = stacks.load(images).head(limit)
    certificate = certify(model, model.preprocessing.load(chosen.paths[:2]).to(state.device))
    made_for = chosen.wall
    if made_for is not None and made_for != model.wall and state.is_main_process:
        warnings.warn(
            f"the stacks in {images} were put together for a wall that hides {made_for}, the "
            f"model's hides {model.wall}: part of an animal lies on the other side",
            stacklevel=2,
        )
    if state.is_main_process:
        runs.remove_unfinished(out)
    report = check(
        model,
        chosen,
        methods,
        metrics=metrics,
        run=Path(out) / "records",
        batch=batch,
        engine=engine,
        autocast=autocast,
        progress=progress,
    )
    if state.is_main_process:
        parameters = {
            "network": network,
            "wall": wall.as_json() if isinstance(wall, Wall) else wall,
            "construction": construction,
            "paint": paint,
            "checkpoint": None if checkpoint is None else Path(checkpoint).name,
            "images": Path(images).name,
            "methods": list(report.methods),
            "metrics": list(metrics),
            "limit": limit,
            "batch": batch,
            "engine": engine,
            "autocast": autocast,
        }
        manifest = runs.manifest(
            parameters,
            command=command,
            device=str(state.device),
            processes=state.num_processes,
            certificate=str(certificate),
        )
        report.save(out, manifest)
        images_of = chosen.frame.assign(image=[path.name for path in chosen.paths])
        runs.write_csv(Path(out) / "stacks.csv", images_of)
    state.wait_for_everyone()
    return report
