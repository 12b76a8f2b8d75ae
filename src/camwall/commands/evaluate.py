"""A check as a recorded run: from names and a folder to a table with its manifest."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camwall.check import Report


def evaluate(
    images: Path,
    out: Path,
    *,
    network: str | None = None,
    wall: int = 160,
    layer: str | None = None,
    construction: str = "whole",
    paint: str = "zero",
    weights: Path | None = None,
    checkpoint: Path | None = None,
    methods: list[str] | None = None,
    metrics: list[str] | None = None,
    limit: int | None = None,
    batch: int = 1,
    engine: str = "camwall",
    command: str | None = None,
    progress: bool = True,
) -> "Report":
    """Certify a network, check methods on a folder of stacks, and write the table.

    Under ``accelerate launch --multi_gpu -m camwall evaluate …`` the images are shared out over
    processes, devices and hosts.

    Parameters
    ----------
    images : path
        Folder that a builder of `camwall.stacks` wrote, or of any images.
    out : path
        Folder that gets ``table.csv``, ``records.csv``, ``stacks.csv`` (what each image shows),
        ``manifest.json``, and under ``records/`` what a killed run needs to go on.
    network : str, optional
        ``efficientnet-lite0``, which is the default; a classification network of torchvision by
        its name, ``timm:NAME``, or ``hf:NAME`` for one of transformers (name or folder).
    wall : int
        First hidden row of a network that is walled without training.
    layer : str, optional
        Name of its module whose output is the maps; the last that gives maps if not given.
    construction : str
        How such a wall is built: ``whole``, or the two sides ``apart``.
    paint : str
        What such a network sees in place of the hidden pixels, one of `camwall.models.FILLS`.
    weights : path, optional
        A state dict for such a network, in place of its library's download.
    checkpoint : path, optional
        Instead: a network trained behind its wall, ours or the paper's.
    methods : list of str, optional
        Names of `camwall.METHODS`; all that the engine has if none is given.
    metrics : list of str, optional
        Names of `camwall.metrics.METRICS`; response and leak if none is given.
    limit : int, optional
        Only the first so many images.
    batch : int
        Images at a time.
    engine : str
        ``camwall``, or a package: ``grad-cam``, ``captum``, ``torch-cam``, ``zennit``.
    command : str, optional
        The command to record, if not this process's.
    progress : bool
        Show a progress bar.

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
    from camwall import runs, stacks
    from camwall.check.run import DEFAULT_METRICS, check
    from camwall.models.library import named_model
    from camwall.processes import processes
    from camwall.wall import certify

    state = processes()
    built: dict[str, Any] = {"network": network, "wall": wall, "construction": construction}
    built |= {"layer": layer, "paint": paint, "weights": weights, "checkpoint": checkpoint}
    asked: dict[str, Any] = {"metrics": metrics or list(DEFAULT_METRICS), "batch": batch}
    asked["engine"] = engine
    model = named_model(**built).to(state.device)
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
    report = check(model, chosen, methods, run=Path(out) / "records", progress=progress, **asked)
    if state.is_main_process:
        named = {"images": Path(images).name, "methods": list(report.methods), "limit": limit}
        files = {"weights": weights, "checkpoint": checkpoint}
        named |= {name: Path(file).name for name, file in files.items() if file is not None}
        manifest = runs.manifest(
            built | asked | named,
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
