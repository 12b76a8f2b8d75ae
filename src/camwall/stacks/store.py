"""A folder of stacks: images, a manifest, and the promise that nothing else lies in it."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from camwall import data, runs
from camwall.errors import CamwallError, check_count, check_path, in_one_line
from camwall.images import SUFFIXES, images_below, read_image
from camwall.stacks.design import SIDE
from camwall.wall import Wall

if TYPE_CHECKING:
    from camwall.models import Preprocessing

_TABLE, _INFO = "manifest.csv", "manifest.json"
HALVES = ("visible", "beside", "hidden")
LABELS = tuple(f"{half}_index" for half in HALVES)


@dataclass(frozen=True)
class Stacks:
    """A set of stacks on disk.

    Attributes
    ----------
    folder
        Where they lie.
    frame
        One row a stack: the manifest, or the column ``file`` alone where there is none.
    info
        How they were built (the manifest); empty where there is no manifest.
    """

    folder: Path
    frame: pd.DataFrame
    info: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def paths(self) -> list[Path]:
        """The image files, in the order of the manifest."""
        return [self.folder / name for name in self.frame["file"]]

    @property
    def checksums(self) -> list[str] | None:
        """The SHA-256 of each file, as the manifest says it."""
        return self.frame["sha256"].tolist() if "sha256" in self.frame else None

    @property
    def labels_visible(self) -> list[int] | None:
        """ImageNet index of each visible animal, None unless all are known."""
        labels = self.labels("visible")
        return None if None in labels else labels

    def labels(self, animal: str) -> list[Any]:
        """ImageNet index of each ``"visible"``, ``"beside"`` or ``"hidden"`` animal.

        None where there is no such animal, or no class for it.
        """
        return [row.get(f"{animal}_index") for row in records(self.frame)]

    @property
    def groups(self) -> list[int] | None:
        """Which stacks share a visible half, by number; None where no two were made to."""
        return self.frame["group"].tolist() if "group" in self.frame else None

    @property
    def wall(self) -> Wall | None:
        """The wall that the stacks were built for; None where the manifest does not say."""
        parameters = self.info.get("parameters", {})
        if not isinstance(parameters, dict):
            raise ValueError(f"parameters are a JSON object, not {parameters!r}")
        if "wall" in parameters:
            return Wall.from_json(parameters["wall"])
        rows = {int(row) for row in self.frame.get("row", [])}
        return Wall.rows(SIDE, SIDE, rows.pop()) if len(rows) == 1 else None

    @property
    def boxes(self) -> pd.DataFrame:
        """Where the animals are: one row an animal, where the manifest gives boxes (STACK-OPEN).

        ``stack``, ``half``, then ``left``, ``top``, ``right``, ``bottom`` in pixels, the last two
        exclusive, ``share``, the part of its side of the wall that the box takes, and ``behind``,
        the part of the box that lies behind the wall: 0 for a visible animal, 1 for the hidden one.
        """
        hidden = np.zeros((SIDE, SIDE), bool) if self.wall is None else self.wall.hidden.numpy()
        rows = []
        for half in HALVES:
            boxes = self.frame.get(f"{half}_box", pd.Series(dtype=str)).dropna()
            room = int((hidden if half == "hidden" else ~hidden).sum())
            for stack, box in boxes.items():
                left, top, right, bottom = edges = [int(edge) for edge in box.split()]
                if not (0 <= left < right <= SIDE and 0 <= top < bottom <= SIDE):
                    raise ValueError(f"a box is not left, top, right, bottom: {box}")
                inside = hidden[top:bottom, left:right]
                rows.append((stack, half, *edges, inside.size / room, float(inside.mean())))
        columns = ["stack", "half", "left", "top", "right", "bottom", "share", "behind"]
        return pd.DataFrame(rows, columns=columns)

    def differing(self) -> NDArray[np.bool_]:
        """Which pixels differ from those of the first stack of the same group: [N, H, W].

        A CamwallError where no two of the stacks were made to share a visible half.
        """
        if self.groups is None:
            raise CamwallError(f"no two stacks in {self.folder} were made to share a visible half.")
        firsts: dict[int, NDArray[np.uint8]] = {}
        found = []
        for path, group in zip(self.paths, self.groups, strict=True):
            pixels = np.asarray(read_image(path))
            found.append((pixels != firsts.setdefault(group, pixels)).any(axis=-1))
        return np.stack(found)

    def head(self, n: int | None) -> "Stacks":
        """The first ``n`` stacks, at least one (or a CamwallError); all for None."""
        count = len(self) if n is None else check_count("the number of stacks", n)
        return Stacks(self.folder, self.frame.head(count), self.info)

    def images(
        self, preprocessing: "Preprocessing", start: int = 0, stop: int | None = None
    ) -> Tensor:
        """Stacks ``start`` to ``stop`` as a network takes them: [N, 3, H, W]."""
        return preprocessing.load(self.paths[start:stop])


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, None where there is no value."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def describe(
    half: str, imagenet: int | None, source: str | None, checksum: str | None, **more: Any
) -> dict[str, Any]:
    """What the manifest says of the ``visible``, the ``beside`` or the ``hidden`` animal."""
    entries = {
        "source": source,
        "sha256": checksum,
        "index": imagenet,
        "name": None if imagenet is None else data.imagenet_classes()["name"][imagenet],
        **more,
    }
    return {f"{half}_{name}": value for name, value in entries.items()}


Painted = tuple[Image.Image, dict[str, Any]]
"""An image, and its row of the manifest without ``file`` and ``sha256``."""


def build(
    folder: str | Path,
    builder: str,
    parameters: Mapping[str, Any],
    seed: int | None,
    stacks: Callable[[], Iterable[Painted]],
    total: int,
    progress: bool = True,
) -> Stacks:
    """Write stacks to ``folder``, or give back those that the same run left there.

    Everything is written to a temporary folder beside it and renamed at the end: a folder of
    stacks is complete or absent. One that holds anything else is refused, and so is one with an
    image that is not what its manifest says.

    Parameters
    ----------
    folder
        New, empty, or the result of an earlier run with the same builder, parameters and seed.
    builder, parameters, seed
        What determines the images.
    stacks, total
        Yields so many of them; called if there is work.
    progress
        Show a bar on stderr.
    """
    folder = check_path("a folder of stacks", folder)
    wanted = {"builder": builder, "parameters": parameters, "seed": seed, "stacks": total}
    with runs.writing(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            return _left_there(folder, wanted)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with runs.scratch_beside(folder) as scratch:
            new = scratch / folder.name
            (new / "images").mkdir(parents=True)
            pixels, rows = hashlib.sha256(), []
            bar = tqdm(stacks(), f"stacks ({builder})", total, disable=not progress)
            for number, (image, row) in enumerate(bar):
                name = f"images/{number:04d}.png"
                image.save(new / name)
                pixels.update(image.tobytes())
                rows.append({"file": name, "sha256": sha256(new / name), **row})
            table = runs.write_csv(new / _TABLE, pd.DataFrame(rows))
            more = {"builder": builder, "pixels_sha256": pixels.hexdigest()}
            info = runs.manifest(parameters, seed, **more, files=runs.seals([table]))
            runs.write_json(new / _INFO, info)
            try:
                # Replaces an empty folder; fails if another process has filled it since.
                new.replace(folder)
            except OSError:
                return _left_there(folder, wanted)
        return load(folder)


def _left_there(folder: Path, wanted: Mapping[str, Any]) -> Stacks:
    """The stacks of an earlier run, if it is the same run and they are whole."""
    if not (folder / _INFO).is_file():
        raise CamwallError(f"{folder} holds other files: give a new or an empty folder.")
    found = load(folder)
    # A parameter that the other run had and this one has not is another's too.
    only_there = dict.fromkeys(found.info.get("parameters", {}))
    wanted = {**wanted, "parameters": only_there | wanted["parameters"]}
    runs.refuse_other(folder, {**found.info, "stacks": len(found)}, wanted)
    for path, expected in zip(found.paths, found.frame["sha256"], strict=True):
        if not path.is_file() or sha256(path) != expected:
            raise CamwallError(
                f"{path} is not the image its manifest describes: delete {folder} and build again."
            )
    return found


def load(folder: str | Path) -> Stacks:
    """Open a folder of a builder, or any folder of images, such as the authors' two sets.

    Raises
    ------
    CamwallError
        If its manifest cannot be read, or there is neither a whole manifest nor an image.
    """
    folder = check_path("a folder of stacks", folder)
    with in_one_line(f"the folder {str(folder)[:200]!r} cannot be read", "give another"):
        described = (folder / _INFO).is_file() and (folder / _TABLE).is_file()
    if not described:
        return Stacks(folder, pd.DataFrame({"file": [p.name for p in image_files(folder)]}), {})
    then = "delete it and build it again"
    info = runs.read_json(folder / _INFO, then)
    runs.check_seals(folder, info, then)
    frame = runs.read_csv(folder / _TABLE, then)
    with in_one_line(f"the manifest in {folder} cannot be read", then, ours=True):
        frame = frame.astype({name: "Int64" for name in LABELS if name in frame})
        stacks = Stacks(folder, frame, info)
        _require_sound(stacks)
    return stacks


def _require_sound(stacks: Stacks) -> None:
    """Refuse a manifest that no builder writes: it may be anybody's."""
    frame = stacks.frame
    needed = frame[["file", "sha256", *({"group", "row"} & {*frame})]]
    if (missing := needed.isna().any()).any():
        raise ValueError(f"the column {missing.idxmax()} has a gap")
    for name in frame["file"]:
        require_below(stacks.folder, name)
    if frame["file"].duplicated().any():
        raise ValueError(f"{frame['file'][frame['file'].duplicated()].iloc[0]} is given twice")
    if not frame["sha256"].astype(str).str.fullmatch("[0-9a-f]{64}").all():
        raise ValueError("the column sha256 holds what is no checksum")
    for name in {*LABELS} & {*frame}:
        if not frame[name].dropna().between(0, 999).all():
            raise ValueError(f"{name} holds what is no class of ImageNet")
    _ = stacks.boxes  # whose entries are read there, and the wall's


def require_below(folder: Path, name: str) -> None:
    """ValueError for the name of a file that is not in a folder, as anybody's manifest may say."""
    inside = (folder / name).resolve().is_relative_to(folder.resolve())
    if Path(name).is_absolute() or not inside:
        raise ValueError(f"{name!r} is no file below the folder")


def image_files(folder: str | Path) -> list[Path]:
    """The image files of a folder by name, at least one."""
    files = [Path(folder) / name for name in images_below(folder, deep=False)]
    if not files:
        raise CamwallError(f"no images in {folder} ({', '.join(sorted(SUFFIXES))}).")
    return files
