"""Finished cells, one for each image and method, kept so that a killed run loses at most one."""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from camwall.errors import CamwallError
from camwall.runs import remove_unfinished, write_atomic, write_json, writing

#: Cells in one file; a file is written again whole as it grows, so it must not grow large.
SEGMENT = 256

Cell = dict[str, Any]


class CellStore:
    """The cells of one run, in Parquet files under its folder.

    Each process appends to files of its own (``cells-PROCESS-SEGMENT.parquet``) and reads those of
    all at the start. Each write replaces a file in one step.

    Parameters
    ----------
    folder : path or None
        None keeps the cells in memory only.
    identity : dict
        What makes two runs the same (model, wall, images): a folder of another run is refused.
    process : int
        Number of this process.

    Attributes
    ----------
    found, added : list of dict
        Cells of all processes that lay there at the start; this one's since.

    Raises
    ------
    CamwallError
        A folder of another run, or in which a process of this number is at work; files that cannot
        be read or written.
    """

    def __init__(self, folder: str | Path | None, identity: dict[str, Any], process: int) -> None:
        self.folder = None if folder is None else Path(folder)
        self.process = process
        self._rows: list[Cell] = []
        self._segment = 0
        self.found: list[Cell] = []
        self.added: list[Cell] = []
        if self.folder is None:
            return
        self._check_identity(identity)
        self._lock = FileLock(self.folder / f".process-{process:04d}.lock")
        with writing(self.folder):
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise CamwallError(
                    f"another process number {process} is at work in {self.folder}: let it end; if "
                    "one command started both, give accelerate launch --multi_gpu, also on CPUs"
                ) from None
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        assert self.folder is not None
        if self.process == 0:
            remove_unfinished(self.folder)
        files = sorted(self.folder.glob("cells-*.parquet"))
        for file in files:
            try:
                self.found += pd.read_parquet(file).to_dict("records")  # type: ignore[arg-type]
            except (OSError, ValueError):  # pyarrow's errors are ValueErrors
                raise CamwallError(
                    f"{file} cannot be read: delete it, and its cells are computed again"
                ) from None
        mine = [file for file in files if file.name.startswith(f"cells-{self.process:04d}-")]
        self._segment = 1 + max((int(f.stem.rsplit("-", 1)[1]) for f in mine), default=-1)

    def _check_identity(self, identity: dict[str, Any]) -> None:
        file = self.folder / "run.json"  # type: ignore[operator]
        if file.exists():
            try:
                known = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                raise CamwallError(
                    f"{file} cannot be read: give this run a folder of its own"
                ) from None
            other = [key for key in identity if known.get(key) != identity[key]]
            if other:
                raise CamwallError(
                    f"{self.folder} holds another run (its {', '.join(other)} differ); give this "
                    "run a folder of its own, or delete that one"
                )
        elif self.process == 0:
            if any(self.folder.glob("cells-*.parquet")):  # type: ignore[union-attr]
                raise CamwallError(
                    f"{self.folder} holds cells but no run.json that says whose; give this run a "
                    "folder of its own"
                )
            with writing(file):
                write_json(file, identity)

    def done(self) -> set[tuple[str, str]]:
        """Pairs (image, method) that need no work."""
        return {(cell["image"], cell["method"]) for cell in self.found}

    def add(self, cells: Iterable[Cell]) -> None:
        """Keep finished cells; on return they are safe."""
        new = list(cells)
        self.added += new
        if self.folder is None:
            return
        self._rows += new
        frame = pd.DataFrame(self._rows)
        path = self.folder / f"cells-{self.process:04d}-{self._segment:05d}.parquet"
        with writing(path):
            write_atomic(path, lambda file: frame.to_parquet(file, index=False))
        if len(self._rows) >= SEGMENT:
            self._rows, self._segment = [], self._segment + 1

    def close(self) -> None:
        """Let another process of this number take the folder."""
        if self.folder is not None:
            with suppress(OSError):  # before the release: the file may then be another's
                Path(self._lock.lock_file).unlink()
            self._lock.release()
