"""A report's folder: written in one step, and refused where its files do not belong together."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from camwall.check.page import write_page
from camwall.errors import CamwallError, reason
from camwall.runs import as_written, write_csv, write_json, writing
from camwall.wall import Wall

if TYPE_CHECKING:
    from camwall.check.report import Report

MANIFEST, RECORDS, GALLERY, PAGE = "manifest.json", "records.csv", "gallery.json", "report.html"
#: The columns that no records are without.
_NEEDED = ("image", "method", "response", "leak", "leak_clear", "empty", "group")


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
        checksums = {file.name: _checksum(file) for file in files}
        write_json(folder / MANIFEST, said | {"files": checksums})


def load(folder: Path) -> dict[str, Any]:
    """The parts of the report that `save` wrote."""
    manifest = _manifest(folder)
    for name, checksum in manifest.get("files", {}).items():  # which older ones have not
        if _checksum(_there(folder, name)) != checksum:
            raise CamwallError(
                f"{folder / name} is not the file that {MANIFEST} was written with: they are of "
                "two runs, or one was edited; write the report again"
            )
    path = _there(folder, RECORDS)
    text = dict.fromkeys(("image", "method", "repaint", "mechanism"), str)
    try:
        # Nothing but an empty field is missing: a method may be called NA.
        records = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
        for name in text.keys() & {*records}:
            records[name] = records[name].map(as_written)
    except (OSError, ValueError) as error:
        raise _damaged(path, reason(error)) from None
    if lost := [name for name in _NEEDED if name not in records]:
        raise _damaged(path, f"it has no column {', '.join(lost)}")
    try:
        gallery = json.loads((folder / GALLERY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        gallery = {}
    except (OSError, ValueError):
        raise _damaged(folder / GALLERY, "it is no JSON") from None
    return {
        "records": records,
        "wall": manifest["wall"],
        "methods": tuple(dict.fromkeys(records["method"])),
        "random_level": manifest["random_level"],
        "identity": manifest["identity"],
        "gallery": gallery,
    }


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest, its wall read."""
    path = folder / MANIFEST
    if not path.is_file():
        raise CamwallError(f"no report in {folder}: it has no {MANIFEST}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        wall = Wall.from_json(manifest["wall"])
        return manifest | {
            "wall": wall,
            "random_level": float(manifest["random_level"]),
            "identity": dict(manifest["identity"]),
            "files": dict(manifest.get("files", {})),
        }
    except KeyError as error:
        raise _damaged(path, f"it has no {error.args[0]}") from None
    except (OSError, ValueError, TypeError, AttributeError):
        raise _damaged(path, "it is no manifest of a report") from None


def _there(folder: Path, name: str) -> Path:
    path = folder / name
    if Path(name).name != name or not path.is_file():
        raise CamwallError(f"no report in {folder}: it has no {name}")
    return path


def _checksum(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise CamwallError(f"{path} cannot be read: {error.strerror}") from None


def _damaged(path: Path, why: str) -> CamwallError:
    return CamwallError(f"{path} cannot be read ({why}): write the report again")
