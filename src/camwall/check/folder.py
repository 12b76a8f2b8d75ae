"""A report's folder: written in one step, and refused where its files do not belong together."""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from camwall.check.gallery import drawn
from camwall.check.page import write_page
from camwall.check.verdicts import FINDINGS, VERDICT
from camwall.errors import CamwallError, check_list, in_one_line
from camwall.runs import (
    check_seals,
    read_csv,
    read_json,
    seals,
    write_csv,
    write_json,
    writing,
)
from camwall.wall import Wall

if TYPE_CHECKING:
    from camwall.check.report import Report

MANIFEST, RECORDS, GALLERY, PAGE = "manifest.json", "records.csv", "gallery.json", "report.html"


class Column(NamedTuple):
    """What a column of the records holds: values of these types; numbers in this range, or NaN."""

    types: tuple[type, ...] = (int, float)
    least: float = -math.inf
    most: float = math.inf

    def within(self, numbers: Any) -> bool:
        """Whether a number, or all numbers of a column, are in the range."""
        return not np.any((numbers < self.least) | (numbers > self.most))


#: The columns of records beside ``group``, which is of any type; all others are metrics'.
COLUMNS = {
    **dict.fromkeys(("image", "method"), Column((str,))),
    **dict.fromkeys(("mechanism", "repaint"), Column((str, type(None)))),
    **dict.fromkeys(("target", "prediction", "rank"), Column((int,), 0)),
    "empty": Column((bool,)),
    **dict.fromkeys(("seconds", "response", *FINDINGS), Column(least=0)),
    **dict.fromkeys(
        ("leak", "leak_clear", "on_grid", "retreated", "agreed"), Column(least=0, most=1 + 1e-6)
    ),
}
#: The columns that are no metric's: none can have their name.
OF_RECORDS = {*COLUMNS, "group"} - {*VERDICT}
#: The columns that no records are without, nor any of their rows.
_WHOLE = ("image", "method", "empty", "group")
_THEN = "write the report again"


def save(
    report: "Report", folder: Path, manifest: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]
) -> None:
    """Write a report's files, the manifest that makes them one at the end."""
    levels = {"flat_level": report.flat_level, "random_level": report.random_level}
    said = {**manifest, **levels, "wall": report.wall.as_json(), "identity": report.identity}
    with writing(folder):
        (folder / MANIFEST).unlink(missing_ok=True)
        files = [
            write_csv(folder / "table.csv", report.table, index=True),
            write_csv(folder / "verdicts.csv", report.verdicts, index=True),
            write_csv(folder / RECORDS, report.records),
            write_json(folder / GALLERY, report.gallery),
            *(write_csv(folder / name, frame) for name, frame in tables.items()),
        ]
        try:
            files.append(write_page(report, folder / PAGE, said))
        except CamwallError as error:  # what draws is an extra
            (folder / PAGE).unlink(missing_ok=True)
            warnings.warn(f"no {PAGE} was written: {error}", stacklevel=3)
        write_json(folder / MANIFEST, said | {"files": seals(files)})


def load(folder: Path) -> dict[str, Any]:
    """The parts of the report that `save` wrote."""
    manifest = _manifest(folder)
    check_seals(folder, manifest, _THEN)
    records = read_records(folder / RECORDS, manifest["identity"].get("metrics", []))
    gallery = read_json(folder / GALLERY, _THEN) if (folder / GALLERY).exists() else {}
    with in_one_line(f"{folder / GALLERY} cannot be read", _THEN, ours=True):
        for each in gallery.values():
            for picture in (each[""], *each.values()):
                drawn(picture, (1, 1))
    return {
        "records": records,
        "wall": manifest["wall"],
        "methods": tuple(dict.fromkeys(records["method"])),
        "random_level": manifest["random_level"],
        "identity": manifest["identity"],
        "gallery": gallery,
    }


def read_records(path: Path, more: Sequence[str]) -> pd.DataFrame:
    """The records of a report, which have these columns too: texts, and numbers in their ranges."""
    texts = {name: str for name, column in COLUMNS.items() if str in column.types}
    records = read_csv(path, _THEN, dtype=texts)
    if lost := [name for name in (*_WHOLE, *VERDICT, *more) if name not in records]:
        raise _damaged(path, f"it has no column {', '.join(lost)}")
    with in_one_line(f"{path} cannot be read", _THEN):
        for name in records.columns.difference([*texts, "group", "variant"]):
            if not is_numeric_dtype(records[name]):
                raise ValueError(f"the column {name} holds what is no number")
            if not COLUMNS.get(name, Column()).within(records[name]):
                raise ValueError(f"the column {name} holds a number out of its range")
        if gaps := [name for name in _WHOLE if records[name].isna().any()]:
            raise ValueError(f"the column {gaps[0]} has a gap")
        if not len(records) or records["empty"].dtype != bool:
            raise ValueError("it has no records, or the column empty is not of True and False")
        keys = [name for name in ("variant", "image", "method") if name in records]
        images, methods = records["image"].nunique(), records["method"].nunique()
        whole = "variant" in records or len(records) == images * methods
        if not whole or records.duplicated(keys).any():
            raise ValueError("it has not each image with each method, once")
    return records


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest, its wall read."""
    path = folder / MANIFEST
    with in_one_line(f"no report in {folder}", "give the folder of one"):
        if not path.is_file():
            raise CamwallError(f"no report in {folder}: it has no {MANIFEST}")
    manifest = read_json(path, _THEN)
    return manifest | about(manifest, path)


def about(manifest: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What a manifest says of a report: wall, level of noise, and what was checked."""
    if lost := [name for name in ("wall", "random_level", "identity") if name not in manifest]:
        raise _damaged(path, f"it has no {lost[0]}")
    with in_one_line(f"{path} cannot be read", _THEN, ours=True):
        level, identity = manifest["random_level"], manifest["identity"]
        if not isinstance(level, int | float) or isinstance(level, bool) or not 0 <= level <= 1:
            raise ValueError(f"random_level is no share but {level!r}")
        if not isinstance(identity, dict) or not isinstance(identity.get("layer", ""), str):
            raise ValueError("identity is no JSON object, or its layer no name")
        metrics = check_list("metrics", identity.get("metrics", []))
        if not all(isinstance(name, str) for name in metrics) or OF_RECORDS & {*metrics}:
            raise ValueError("metrics are no names of metrics")
        return {
            "wall": Wall.from_json(manifest["wall"]),
            "random_level": float(level),
            "identity": identity,
        }


def _damaged(path: Path, why: str) -> CamwallError:
    return CamwallError(f"{path} cannot be read ({why}): write the report again")
