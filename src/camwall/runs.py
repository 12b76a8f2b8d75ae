"""What recorded runs share: checked parameters, a manifest, files written whole or not at all.

papermill only warns about a name that a notebook does not have: a misspelt parameter would run the
default for hours. So each notebook under ``notebooks/`` has its parameters cell (plain literals) as
its first code cell, and starts the next one with ``check_parameters(globals())``.
"""

import ast
import csv
import ctypes
import difflib
import gc
import glob
import hashlib
import importlib.metadata
import io
import json
import math
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from camwall.errors import CamwallError, check_file, check_path, in_one_line, reason

if TYPE_CHECKING:
    import pandas as pd

PACKAGES = (
    "camwall",
    "torch",
    "torchvision",
    "numpy",
    "pandas",
    "pillow",
    "grad-cam",
    "captum",
    "torchcam",
    "zennit",
    "timm",
    "transformers",
)
"""The packages whose versions a manifest records, where they are installed."""

_ROOT = Path(__file__).resolve().parents[2]
_INJECTED = "# Parameters"  # the first line of the cell that papermill writes
_UNFINISHED = ".unfinished."  # how the names of files begin that are being written
_FORMULA = re.compile(r"'*[=+@\t\r-]")  # how the texts begin that a spreadsheet computes
_HELD = ".camwall-held"  # the file in a folder that the process at work there keeps locked


def _assigned(source: str) -> dict[str, Any]:
    """The names a cell of plain assignments binds, with their literal values."""
    found = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            raise ValueError("not a plain assignment")
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if not isinstance(target, ast.Name):
                raise ValueError("not a plain name")
            found[target.id] = ast.literal_eval(node.value)
    return found


def check_parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Give a notebook's parameters as they stand, and refuse those it does not know.

    Parameters
    ----------
    namespace
        The notebook's ``globals()``, with the source of each executed cell in IPython's ``In``:
        the first declares the parameters, one of papermill's sets some of them.

    Raises
    ------
    CamwallError
        A name that is not declared (the nearest one is named), or a value of another type than its
        default: an int stands for a float; None, as default or as value, goes with any type.
    """
    cells = [str(source) for source in namespace.get("In", ())][1:]
    try:
        declared = _assigned(cells[0])
        injected = [_assigned(cell) for cell in cells[1:] if cell.startswith(_INJECTED)]
    except (IndexError, SyntaxError, ValueError):
        raise CamwallError(
            "the parameters are read from the notebook's first code cell: restart the kernel and "
            "run the cells from the top."
        ) from None
    for name in (name for cell in injected for name in cell):
        if name not in declared:
            near = difflib.get_close_matches(name, declared, n=1, cutoff=0.0)[0]
            raise CamwallError(
                f"unknown parameter {name!r}: did you mean {near!r}? Known are "
                f"{', '.join(declared)}."
            )
    values = {name: namespace[name] for name in declared}
    for name, value in values.items():
        kinds = {type(value), type(declared[name])}
        if len(kinds) == 1 or type(None) in kinds:
            continue
        if isinstance(declared[name], float) and type(value) is int:
            continue
        raise CamwallError(
            f"parameter {name!r} must be of type {type(declared[name]).__name__}, as its default "
            f"{declared[name]!r} is, not {value!r}."
        )
    return values


def versions() -> dict[str, str]:
    """Python's version, and that of each of :data:`PACKAGES` that is installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def recorded(name: str) -> Path:
    """A file of a finished run, ``results/<name>`` of the source tree this package runs from.

    Raises
    ------
    CamwallError
        If it is not there: no such run is recorded, or the package runs without its source tree.
    """
    path = _ROOT / "results" / name
    if not path.is_file():
        raise CamwallError(
            f"no recorded run results/{name}: run the chapters from a clone of camwall"
        )
    return path


def git_commit() -> str | None:
    """The commit of the source tree this package runs from (``+dirty`` if edited), None if none.

    What lies in ``results/`` is no part of it: a run that writes there does not edit it.
    """
    if not (_ROOT / ".git").exists():
        return None

    def git(*command: str) -> str:
        done = subprocess.run(["git", "-C", _ROOT, *command], check=True, capture_output=True)
        return done.stdout.decode().strip()

    try:
        edited = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":!/results")
        return git("rev-parse", "HEAD") + "+dirty" * bool(edited)
    except (OSError, subprocess.CalledProcessError):
        return None


def manifest(
    parameters: Mapping[str, Any], seed: int | None = None, command: str | None = None, **more: Any
) -> dict[str, Any]:
    """Say how a result came to be: what lies beside every table in ``results/``, JSON-ready.

    Parameters
    ----------
    parameters
        The run's.
    seed
        Where the run draws random numbers.
    command
        What repeats the run; by default the command of this process.
    **more
        Further entries, such as checksums of the data or the device.
    """
    return {
        "command": command or " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "parameters": dict(parameters),
        "seed": seed,
        "versions": versions(),
        "platform": f"{platform.system()} {platform.machine()}",
        "commit": git_commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **more,
    }


def write_atomic(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place in one step.

    A reader sees the old file or the new one, never half of it; after an exception in ``write``
    the old one is untouched and no temporary file is left. What a kill leaves,
    `remove_unfinished` takes away.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f"{_UNFINISHED}{path.stem[:32]}."  # a name has room for 255 bytes
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        # mkstemp makes the file readable by its owner alone; give it the mode any new file gets.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a write that fails into one line for the user."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch turns some failed writes into RuntimeError
        raise CamwallError(
            f"cannot write {path} ({reason(error)}); an earlier file of that name is "
            "untouched: make room and start the same command again"
        ) from None


def seals(paths: Iterable[Path]) -> dict[str, str]:
    """The SHA-256 of files by their names: what a manifest says of those that belong to it."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def check_seals(folder: Path, manifest: Mapping[str, Any], then: str) -> None:
    """Refuse files that are not those of the `seals` in their manifest, which older ones have not.

    ``then`` is what is to be done.
    """
    sealed = manifest.get("files", {})
    if not isinstance(sealed, dict) or any(Path(name).name != name for name in sealed):
        raise CamwallError(f"the manifest in {folder} names no files: {then}")
    for name, seal in sealed.items():
        check_file(folder / name)
        if not (folder / name).is_file():
            raise CamwallError(f"{folder} is not whole: it has no {name}; {then}")
        if seals([folder / name])[name] != seal:
            raise CamwallError(
                f"{folder / name} is not the file that manifest.json was written with: they are of "
                f"two runs, or one was edited; {then}"
            )


def made(folder: str | Path) -> Path:
    """A folder for results, there before they are computed."""
    folder = Path(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def held(file: Path, told: str) -> Iterator[None]:
    """Keep ``file`` locked while the block runs.

    The system takes a lock away with the process.

    Raises
    ------
    CamwallError
        What is ``told``, where somebody else has the lock; a folder that cannot be written.
    """
    lock = FileLock(file, timeout=0)
    with writing(file):
        try:
            lock.acquire()
        except Timeout:
            raise CamwallError(told) from None
    try:
        yield
    finally:
        with suppress(OSError):  # before the release: the file may then be another's
            file.unlink()
        lock.release()


def alone(folder: Path) -> AbstractContextManager[None]:
    """Keep a second process of the same run out of its folder while the block runs."""
    return held(folder / _HELD, f"another process is at work in {folder}: let it end")


def sweep_beside(target: Path) -> None:
    """Remove what killed processes left of `scratch_beside`, which nobody holds locked."""
    for held in target.parent.glob(f".{glob.escape(target.name)}-*/{_HELD}"):
        with suppress(Timeout, OSError), FileLock(held, timeout=0):
            shutil.rmtree(held.parent, ignore_errors=True)


@contextmanager
def scratch_beside(target: Path) -> Iterator[Path]:
    """A new folder on the disk of ``target``, from where a finished folder is moved there.

    It is removed at the end, whatever happens, and what killed processes left at the start.
    """
    name = f".{target.name}-"
    sweep_beside(target)
    with ExitStack() as stack:
        new = None
        while new is None or not new.exists():  # another process may sweep one before it is locked
            folder = tempfile.TemporaryDirectory(prefix=name, dir=target.parent)
            new = Path(stack.enter_context(folder)) / _HELD
            with suppress(FileNotFoundError):
                stack.enter_context(FileLock(new))
        yield new.parent


def remove_unfinished(folder: str | Path) -> None:
    """Remove what killed writes left anywhere below ``folder``, while nobody writes there."""
    for left in Path(folder).rglob(f"{_UNFINISHED}*"):
        left.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    """What ``json`` cannot write by itself: paths, numpy scalars and arrays."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} does not go into JSON")


def write_json(path: str | Path, content: Any) -> Path:
    """Write ``content`` as indented JSON, atomically."""
    text = json.dumps(content, indent=2, ensure_ascii=False, default=_plain) + "\n"
    # In a name that is not UTF-8, what stands for such a byte is written as JSON escapes it.
    how = {"encoding": "utf-8", "errors": "backslashreplace"}
    return write_atomic(path, lambda file: file.write_text(text, **how))


def read_json(path: str | Path, then: str) -> dict[str, Any]:
    """The object of a JSON file: finite numbers, and no name in it twice.

    Raises
    ------
    CamwallError
        The file is missing or cannot be read, or holds something else; ``then`` is what to do.
    """

    def number(text: str) -> float:
        if not math.isfinite(value := float(text)):
            raise ValueError(f"{text} is no number")
        return value

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError("it says one thing twice")
        return found

    with in_one_line(f"{path} cannot be read", then):
        check_file(path)
        content = json.loads(
            Path(path).read_text(encoding="utf-8"),
            object_pairs_hook=once,
            parse_float=number,
            parse_constant=number,
        )
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
    return content


def write_csv(path: str | Path, frame: "pd.DataFrame", index: bool = False) -> Path:
    """Write ``frame`` as CSV with Unix line ends, atomically.

    A text that a spreadsheet would take for a formula (a file's name may be one) is written after
    an apostrophe; `as_written` takes it away.
    """
    told = frame.apply(lambda each: each if each.dtype.kind in "biuf" else each.map(_inert))
    if index:
        told.index = told.index.map(_inert)
    return write_atomic(path, lambda file: told.to_csv(file, index=index, lineterminator="\n"))


def read_csv(path: str | Path, then: str, **how: Any) -> "pd.DataFrame":
    """A table of `write_csv`: as many entries in each line as there are columns.

    Nothing but an empty entry is missing: a text may be ``NA``.

    Parameters
    ----------
    path
    then
        What a CamwallError says is to be done with a file that is no such table.
    **how
        Further arguments of pandas' function, such as the columns' types.
    """
    import pandas as pd

    with in_one_line(f"{path} cannot be read", then):
        check_file(path)
        text = Path(path).read_bytes().decode("utf-8-sig")
        names, *rows = csv.reader(io.StringIO(text, ""), strict=True) if text.strip() else [[]]
        if not names or "\0" in text or len({*names}) < len(names):
            raise ValueError("it is empty, holds a NUL byte, or one column twice")
        if any(row and len(row) != len(names) for row in rows):
            raise ValueError("a line has more or fewer entries than there are columns")
        frame = pd.read_csv(io.StringIO(text, ""), keep_default_na=False, na_values=[""], **how)
        for name in frame.select_dtypes(exclude=["number", "bool"]):
            frame[name] = frame[name].map(as_written)
        return frame


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def as_written(value: Any) -> Any:
    """A text of a table of `write_csv` as it was before."""
    quoted = isinstance(value, str) and value[:1] == "'" and _FORMULA.match(value)
    return value[1:] if quoted else value


def _differences(known: Any, wanted: Mapping[str, Any], name: str = "") -> Iterator[str]:
    """What ``known`` says otherwise than ``wanted``, by the names within; long values unsaid."""
    for key, value in wanted.items():
        before = known.get(key) if isinstance(known, Mapping) else None
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            yield from _differences(before, value, f"{name}{key}.")
        elif before != value:
            said = f"{json.dumps(before)}, not {json.dumps(value)}"
            yield f"another {name}{key}" if len(said) > 60 else f"{name}{key} {said}"


def refuse_other(folder: Path, known: Any, identity: Mapping[str, Any]) -> None:
    """Refuse the folder of another run, naming what differs, and both values where they are short.

    Parameters
    ----------
    folder
        For the message.
    known
        What the folder says of its run; what is not asked for in ``identity`` is let be.
    identity
        All that determines the results of this run, JSON-ready; may be nested.
    """
    # As JSON, so that a tuple equals its list.
    known, wanted = (json.loads(json.dumps(one, default=_plain)) for one in (known, identity))
    if others := list(_differences(known, wanted)):
        raise CamwallError(
            f"{folder} holds another run ({'; '.join(others)}): give this run a folder of "
            "its own, or delete that one"
        )


def claim(
    folder: str | Path,
    identity: Mapping[str, Any],
    *,
    file: str = "run.json",
    close: Mapping[str, Sequence[float]] = MappingProxyType({}),
    **more: Any,
) -> Path:
    """Make a new or empty folder this run's, or make sure that it is this run's already.

    Call it before anything is written there. What a killed write or the system left (files whose
    names begin with a dot) does not count.

    Parameters
    ----------
    folder, identity
        As `refuse_other` takes them; a folder that is not there is made.
    file
        Its name in the folder: it is written for a new run, compared for a known one.
    close
        What belongs to the identity too, but may move by a hundredth of the largest number, as
        scores do from device to device.
    **more
        What is written beside the identity, and not compared.

    Raises
    ------
    CamwallError
        A folder of another run or with other files; one that cannot be read or written.
    """
    folder = check_path("a run's folder", folder)
    try:
        check_file(folder / file)
        known = json.loads((folder / file).read_text(encoding="utf-8"))
    except CamwallError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        if folder.exists() and (
            not folder.is_dir() or any(not path.name.startswith(".") for path in folder.iterdir())
        ):
            raise CamwallError(
                f"{folder} holds other files and no {file} that says whose: give a new or an empty "
                "folder"
            ) from None
        with writing(folder / file):
            write_json(folder / file, {**identity, **close, **more})
    except (OSError, ValueError, RecursionError):
        raise CamwallError(
            f"{folder / file} cannot be read: give this run a folder of its own"
        ) from None
    else:
        for name, values in close.items():
            before = known.get(name) if isinstance(known, Mapping) else None
            near = _near(before, values)
            identity = {**identity, name: before if near else list(values)}
        refuse_other(folder, known, identity)
    return folder


def _near(before: Any, values: Sequence[float]) -> bool:
    """Whether numbers are those from before, up to a hundredth of the largest."""
    if not isinstance(before, list) or len(before) != len(values):
        return False
    most = 0.01 * max(map(abs, values), default=0.0)
    return all(
        isinstance(old, float) and abs(old - new) <= most
        for old, new in zip(before, values, strict=True)
    )


def peak_memory() -> Callable[[], float]:
    """Gives what tells the most memory that this process has held since, above what it holds now.

    In MiB; of a Linux system with the GNU C library, whose heap first gives back what is free.
    """

    def kib() -> int:
        status = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1])

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is held now
    held = kib()
    return lambda: (kib() - held) / 1024


def papermill_command(notebook: str, parameters: Mapping[str, Any]) -> str:
    """The command that runs ``notebook`` with these parameters; what is empty keeps its default."""
    given = {name: value for name, value in parameters.items() if value not in (None, "", [], {})}
    lists = {name: value for name, value in given.items() if isinstance(value, list | dict)}
    options = [f"-p {k} {shlex.quote(str(v))}" for k, v in given.items() if k not in lists]
    if lists:
        options.append(f"-y {shlex.quote(json.dumps(lists))}")  # JSON is YAML
    return " ".join(["papermill", notebook, "OUT.ipynb", *options])
