"""Finished records, kept as they come, so that a killed run loses at most what it was at."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from zlib import crc32

from camwall.errors import CamwallError, check_file
from camwall.runs import claim, held, versions, writing

#: What is measured of one image and method: a row of a report.
Record = dict[str, Any]


class RecordStore:
    """The records of one run, as lines under its folder; in memory alone without one.

    A line is a record as JSON, a tab, and its CRC-32 in hexadecimal digits. Each process appends to
    a file of its own (``records-PROCESS.jsonl``) and reads those of all at the start, ``found``;
    ``added`` are its own since. A last line that a kill cut off is left out, and cut off the file.
    A ``sound`` record is one that the run could have made.

    Raises
    ------
    CamwallError
        A folder of a run of another ``identity`` (model, wall, images), of other ``scores`` or
        another version of camwall, or in which a process of
        this number is at work; files that cannot be read or written.
    """

    def __init__(
        self,
        folder: str | Path | None,
        identity: dict[str, Any],
        process: int,
        scores: Sequence[float] = (),
        sound: Callable[[Record], bool] = lambda record: True,
    ) -> None:
        self.found: list[Record] = []
        self.added: list[Record] = []
        self._path: Path | None = None
        self._held = ExitStack()
        if folder is None:
            return
        identity = {**identity, "camwall": versions().get("camwall")}
        folder = claim(folder, identity, close={"scores": scores})
        self._path = folder / f"records-{process:04d}.jsonl"
        told = (
            f"another process number {process} is at work in {folder}: let it end; if one command "
            "started both, give accelerate launch --multi_gpu, also on CPUs"
        )
        with writing(folder), ExitStack() as stack:
            stack.enter_context(held(folder / f".process-{process:04d}.lock", told))
            for file in sorted(folder.glob("records-*.jsonl")):
                self.found += _read(file, sound)
            self._file = stack.enter_context(self._path.open("ab"))
            kept = self._path.read_bytes().rpartition(b"\n")
            self._file.truncate(len(kept[0] + kept[1]))
            self._held = stack.pop_all()

    def add(self, records: Iterable[Record]) -> None:
        """Keep finished records; on return they are safe."""
        new = list(records)
        self.added += new
        if self._path is None:
            return
        with writing(self._path):
            lines = [json.dumps(record).encode() for record in new]
            self._file.write(b"".join(b"%s\t%08x\n" % (line, crc32(line)) for line in lines))
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let another process of this number take the folder."""
        with writing(self._path or Path()):  # what a full disk did not take is tried again
            self._held.close()


def _read(file: Path, sound: Callable[[Record], bool]) -> list[Record]:
    """The records of a file, but for what stands after the last line's end."""
    found = []
    check_file(file)
    try:
        lines = file.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise CamwallError(f"{file} cannot be read: {error.strerror}") from None
    for number, line in enumerate(lines, start=1):
        try:
            text, _, checksum = line.rpartition(b"\t")
            if checksum != b"%08x" % crc32(text):
                raise ValueError
            record = json.loads(text)
            if not isinstance(record, dict) or not sound(record):
                raise ValueError
        except Exception:  # whoever wrote it
            raise CamwallError(
                f"line {number} of {file} is damaged: delete that line, and its record is "
                "computed again"
            ) from None
        found.append(record)
    return found
