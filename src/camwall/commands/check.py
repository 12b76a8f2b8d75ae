"""A check as one call of names: network, images and methods to a table with its manifest."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camwall.errors import CamwallError, in_one_line
from camwall.lazily import named_place

if TYPE_CHECKING:
    from camwall.check import Report
    from camwall.stacks import Stacks

#: Stacks of STACK-OPEN that are checked where no images are given.
DEFAULT_LIMIT = 20


def default_stacks() -> "Stacks":
    """STACK-OPEN, from the user's cache folder; built there the first time."""
    from camwall import config, stacks

    return stacks.open(config.cache_dir() / "stack-open", n=100, seed=0)


def check_named(
    network: str | None = None,
    images: Path | None = None,
    *,
    layer: str | None = None,
    wall: str | None = None,
    methods: list[str] | None = None,
    metrics: list[str] | None = None,
    out: Path | None = None,
    device: str | None = None,
    construction: str = "whole",
    paint: str = "zero",
    weights: Path | None = None,
    limit: int | None = None,
    batch: int = 1,
    engine: str = "camwall",
    command: str | None = None,
    progress: bool = True,
) -> "Report":
    """Does a saliency method see through walls? A verdict on each, on a network of yours.

    The network is put behind a wall, without training, and certified to be blind behind it; then
    each method is asked for maps, with what is hidden repainted. Under
    ``accelerate launch --multi_gpu -m camwall check …`` the images are shared out over processes,
    devices and hosts.

    Parameters
    ----------
    network : str, optional
        A name of torchvision's classification networks, ``timm:NAME``, ``hf:NAME`` of
        transformers (name or folder), ``hub:OWNER/REPOSITORY:NAME`` of torch.hub, or
        ``MODULE:FUNCTION`` for one of your own: the function returns the torch.nn.Module, or it and
        its camwall.Preprocessing. Or the checkpoint (.pt) of a network trained behind its wall.
        EfficientNet-Lite0 if not given.
    images : path, optional
        Folder of images, or of stacks that a builder of ``camwall stacks`` wrote; the first 20 of
        STACK-OPEN if not given.
    layer : str, optional
        Name of the module whose output is the maps; the last that gives maps if not given.
    wall : str, optional
        First hidden row, or ``rows:0:64``, ``columns:64:left``, ``border:32``, ``quadrant``,
        ``box:0:0:64:64``, ``patches:32:0.3``, or a picture that is white where pixels are hidden
        (`camwall.Wall.of`); the bottom 2/7 of the rows if not given.
    methods : list of str, optional
        Names that ``camwall methods`` lists, with commas between them, ``all`` for those of the
        engine, or ``MODULE:FUNCTION`` for your own: the function takes the model, images
        [N, C, H, W] and a class for each, and returns maps [N, H, W]. If not given, those that
        need one pass.
    metrics : list of str, optional
        Names of `camwall.metrics.METRICS`, or ``MODULE:FUNCTION``; response and leak if not given.
    out : path, optional
        Folder that gets ``report.html`` (all in one page), ``table.csv``, ``verdicts.csv``,
        ``records.csv``, ``stacks.csv`` (what each image shows), ``manifest.json``, and under
        ``records/`` what a stopped run needs to go on. Nothing is written if not given.
    device : str, optional
        ``cpu``, ``cuda`` or ``mps``; an accelerator, where there is one, if not given.
    construction : str
        How a wall is built: ``whole``, or the two sides ``apart``.
    paint : str
        What the network sees in place of the hidden pixels, one of `camwall.models.FILLS`.
    weights : path, optional
        A state dict for the network, in place of its library's download.
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
    import torch

    from camwall import runs, stacks
    from camwall.check import DEFAULT_METRICS, check, default_methods
    from camwall.commands.sweep import SLOW
    from camwall.models.library import named_model
    from camwall.processes import processes
    from camwall.wall import certify

    if out is not None and Path(out).is_dir() and not (Path(out) / "records").is_dir():
        left = {path.name for path in Path(out).iterdir() if not path.name.startswith(".")}
        if left and "table.csv" not in left:
            raise CamwallError(f"{out} holds other files: give --out a new or an empty folder")
    state = processes()
    with in_one_line(f"no device {device!r}", "give cpu, cuda or mps, or leave it out"):
        place = state.device if device is None else torch.empty(0, device=device).device
        if place.type == "meta":
            raise ValueError("it holds no values")
    built: dict[str, Any] = {"network": network, "wall": wall, "construction": construction}
    built |= {"layer": layer, "paint": paint, "weights": weights}
    measured = metrics or list(DEFAULT_METRICS)
    known = default_methods(engine)  # type: ignore[arg-type]  # check refuses other engines
    asked = methods or [name for name in known if name not in SLOW]
    asked = known if asked == ["all"] else asked
    model = named_model(**built).to(place)
    if images is None and limit is None:
        limit = DEFAULT_LIMIT
    chosen = (default_stacks() if images is None else stacks.load(images)).head(limit)
    # Where a proof speaks for every input, few probes try its code; `camwall certify` tries all.
    probes = 3 if model.ground is None else 1
    first = model.preprocessing.load(chosen.paths[:probes]).to(place)
    certificate = certify(model, first, probes=probes)
    made_for = chosen.wall
    if made_for is not None and made_for != model.wall and state.is_main_process:
        warnings.warn(
            f"the stacks in {chosen.folder} were put together for a wall that hides {made_for}, "
            f"the model's hides {model.wall}: part of an animal lies on the other side",
            stacklevel=2,
        )
    if out is not None and state.is_main_process:
        runs.remove_unfinished(out)
    report = check(
        model,
        chosen,
        [named_place(name) if ":" in name else name for name in asked],
        metrics=[named_place(name) if ":" in name else name for name in measured],
        run=None if out is None else Path(out) / "records",
        batch=batch,
        engine=engine,  # type: ignore[arg-type]
        progress=progress,
    )
    if out is not None and state.is_main_process:
        named = {"images": chosen.folder.name, "methods": list(report.methods), "limit": limit}
        named |= {"metrics": measured, "batch": batch, "engine": engine}
        if weights is not None:
            named["weights"] = Path(weights).name
        manifest = runs.manifest(
            built | named,
            command=command,
            device=str(place),
            processes=state.num_processes,
            certificate=str(certificate),
        )
        images_of = chosen.frame.assign(image=[path.name for path in chosen.paths])
        report.save(out, manifest, tables={"stacks.csv": images_of})
    state.wait_for_everyone()
    return report
