"""The three builders, by one entry for the notebook, and a command for each."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camwall.errors import CamwallError

if TYPE_CHECKING:
    from camwall.stacks import Stacks
    from camwall.wall import AnyWall

_DRAWN = {"n", "seed", "hidden"}
_TAKES: dict[str, set[str]] = {
    "open": {*_DRAWN, "wall", "beside"},
    "mix": {*_DRAWN, "wall"},
    "gen": {"pipeline"},
}
"""What each builder takes besides its source, its folder and ``progress``."""

_QUICK = 6  # stacks of a quick run


def make(
    builder: str,
    folder: str | Path,
    source: str | Path | None = None,
    n: int | None = None,
    seed: int | None = None,
    hidden: str | None = None,
    wall: "AnyWall | None" = None,
    beside: bool | None = None,
    pipeline: str | None = None,
    quick: bool = False,
    progress: bool = True,
    command: str | None = None,
) -> "Stacks":
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
        As the builder takes them.
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
    from camwall import runs, stacks
    from camwall.stacks.design import check_choice

    check_choice("builder", builder, list(_TAKES))
    if source is None and builder != "open":
        raise CamwallError(f"{builder} needs a source: the folder of images to build from.")
    asked = {"n": n, "seed": seed, "hidden": hidden, "wall": wall, "beside": beside}
    asked["pipeline"] = pipeline
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    takes = _TAKES[builder] | (_DRAWN if "pipeline" in given else set())
    for name in given.keys() - takes:
        raise CamwallError(f"the builder {builder} takes no {name}: leave it out.")
    folder, aside = Path(folder), "-quick" if quick else ""
    if quick and "n" in takes:
        given["n"] = min(given.get("n", _QUICK), _QUICK)
    if pipeline is not None and source is not None:
        del given["pipeline"]
        source = Path(source).with_name(Path(source).name + aside)
        prompts = stacks.prompts(**given)
        stacks.generate(source, prompts, pipeline, seed or 0, progress=progress)
        given = {}
    given |= {"stamps" if builder == "open" else "source": source}
    folder = folder.with_name(folder.name + aside)
    made: Stacks = getattr(stacks, builder)(out=folder, **given, progress=progress)
    if command is None or command == made.info["command"]:
        return made
    info = {**made.info, "command": command}
    runs.write_json(made.folder / "manifest.json", info)
    return dataclasses.replace(made, info=info)


def open_stacks(
    out: Path,
    *,
    n: int | None = None,
    seed: int | None = None,
    hidden: str | None = None,
    wall: str | None = None,
    beside: bool = False,
    stamps: Path | None = None,
) -> "Stacks":
    """STACK-OPEN: cut-out photographs of two animals in one painted scene, one behind the wall.

    The photographs are downloaded the first time.

    Parameters
    ----------
    out : path
        Folder to write: images and a manifest.
    n : int
        Number of stacks, 100 if not given.
    seed : int
        Determines every choice, 0 if not given.
    hidden : str
        The animal behind the wall: same (as the visible), other, none, or all, in turn.
    wall : str
        Its first hidden row of 224, 160 if not given, or columns:64, columns:64:left and the like.
    beside : bool
        Put a second animal of another class on the visible side.
    stamps : path
        Folder of the photographs, if not that of `camwall fetch`.
    """
    return make("open", out, stamps, n, seed, hidden, wall, beside or None)


def mix_stacks(
    source: Path,
    out: Path,
    *,
    n: int | None = None,
    seed: int | None = None,
    hidden: str | None = None,
    wall: str | None = None,
) -> "Stacks":
    """STACK-MIX: two photographs of an ImageNet-style folder, one on each side of the wall.

    Parameters
    ----------
    source : path
        Folder with one subfolder a class, named by its WordNet id (n02119022).
    out, n, seed
        As `open_stacks` takes them.
    hidden : str
        The animal behind the wall: of the same class, other, or all, in turn.
    wall : str
        Its first hidden row of 224, 170 if not given, or columns:64, columns:64:left and the like.
    """
    return make("mix", out, source, n, seed, hidden, wall)


def gen_stacks(
    source: Path,
    out: Path,
    *,
    pipeline: str | None = None,
    n: int | None = None,
    seed: int | None = None,
    hidden: str | None = None,
) -> "Stacks":
    """STACK-GEN: generated images of two animals, cut to 224×224.

    Parameters
    ----------
    source : path
        Folder of the images; with a pipeline the one that gets them.
    out
        As `open_stacks` takes it.
    pipeline : str
        Generate the images first, with this text-to-image pipeline of diffusers.
    n, seed, hidden
        Of its prompts, as `mix_stacks` takes them.
    """
    return make("gen", out, source, n, seed, hidden, pipeline=pipeline)
