"""One entry for the three builders, for the notebook and the command line."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from camwall import runs
from camwall.errors import CamwallError, in_one_line
from camwall.stacks import Stacks, gen, generate, mix, prompts
from camwall.stacks import open as open_
from camwall.stacks.design import check_choice
from camwall.wall import Wall

_DRAWN = {"n", "seed", "hidden"}
_BUILDERS: dict[str, tuple[Callable[..., Stacks], str, set[str]]] = {
    "open": (open_, "stamps", {*_DRAWN, "wall", "beside"}),
    "mix": (mix, "root", {*_DRAWN, "wall"}),
    "gen": (gen, "source", {"pipeline"}),
}
"""The function of each name, what it calls its source, and what else may be given for it."""

_QUICK = 6  # stacks of a quick run


def make(
    builder: str,
    folder: str | Path,
    source: str | Path | None = None,
    n: int | None = None,
    seed: int | None = None,
    hidden: str | None = None,
    wall: int | Tensor | Wall | Mapping[str, Any] | None = None,
    beside: bool | None = None,
    pipeline: str | None = None,
    quick: bool = False,
    progress: bool = True,
    command: str | None = None,
) -> Stacks:
    """Build stacks with the builder of a name; None leaves a parameter to the builder's default.

    Parameters
    ----------
    builder
        ``"open"``, ``"mix"`` or ``"gen"``: see the function of that name.
    folder
        Where to write.
    source
        For open the folder of stamps, for mix the ImageNet-style folder, for gen the folder of
        generated images.
    n, seed, hidden, wall, beside
        As the builder takes them; a wall also as ``Wall.as_json`` writes it, for ``papermill -y``.
    pipeline
        For gen: first generate images in ``source`` with this pipeline of diffusers, from
        :func:`camwall.stacks.prompts` with ``n``, ``seed`` and ``hidden``.
    quick
        At most six stacks, beside ``folder`` and ``source``, with ``-quick`` at the end, where they
        are in nobody's way.
    progress
        Show bars on stderr.
    command
        What the manifest records as the command; by default this process's.

    Raises
    ------
    CamwallError
        If there is no such builder, it needs a source and has none, or it does not take a parameter
        that was given.
    """
    check_choice("builder", builder, list(_BUILDERS))
    function, name_of_source, takes = _BUILDERS[builder]
    if source is None and builder != "open":
        raise CamwallError(f"{builder} needs a source: the folder of images to build from.")
    if isinstance(wall, Mapping):
        written = "{shape: [H, W], hidden: [[top, left, bottom, right], …]}"
        with in_one_line(f"a wall is written as {written}, not {wall}", "write it so"):
            wall = Wall.from_json(dict(wall))
    asked = {"n": n, "seed": seed, "hidden": hidden, "wall": wall, "beside": beside}
    asked["pipeline"] = pipeline
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    takes = takes | _DRAWN if "pipeline" in given else takes
    for name in given.keys() - takes:
        raise CamwallError(f"the builder {builder} takes no {name}: leave it out.")
    folder, aside = Path(folder), "-quick" if quick else ""
    if quick and "n" in takes:
        given["n"] = min(given.get("n", _QUICK), _QUICK)
    if pipeline is not None and source is not None:
        del given["pipeline"]
        source = Path(source).with_name(Path(source).name + aside)
        generate(source, prompts(**given), pipeline, seed or 0, progress=progress)
        given = {}
    folder = folder.with_name(folder.name + aside)
    made = function(folder, **{name_of_source: source}, **given, progress=progress)
    if command is None or command == made.info["command"]:
        return made
    info = {**made.info, "command": command}
    runs.write_json(made.folder / "manifest.json", info)
    return dataclasses.replace(made, info=info)
