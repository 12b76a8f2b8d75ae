"""The errors a user can cause; each message is one line that says what was wrong and what to do."""

import math
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any


class CamwallError(ValueError):
    """Input that camwall cannot use."""

    def __str__(self) -> str:
        """One line, also where a file's name has two."""
        return " ".join(super().__str__().splitlines())


class BlindnessError(CamwallError):
    """A model said to be blind to some pixels of the image is not; the message names them."""


class DataUnavailable(CamwallError):
    """A data set is neither in the cache nor to be had from any of its sources."""


def check_count(name: str, value: Any, least: int = 1) -> int:
    """``value`` as an int, or a CamwallError when it is no whole number from ``least`` to 2⁶³ − 1.

    Numbers of any library count, 3.0 among them; a bool, a text and a list do not.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not least <= value < 2**63 or value != int(value):
        raise CamwallError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return int(value)


def check_list(name: str, value: Any) -> list[Any]:
    """The entries of ``value``, or a CamwallError for a text and for what has none."""
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return list(value)
    except TypeError:
        raise CamwallError(f"{name} must be a list, not {value!r}") from None


def check_kind(name: str, value: Any, kind: type) -> None:
    """A CamwallError for a value that is not of a kind."""
    if not isinstance(value, kind):
        raise CamwallError(f"{name} must be a {kind.__name__}, not {value!r:.100}")


def reason(error: BaseException) -> str:
    """What an error of somebody else's code says, in one line; its kind, where it says nothing."""
    return " ".join(str(error).split())[:400].rstrip(".") or type(error).__name__


def check_number(name: str, value: Any, *, above: float = -math.inf) -> float:
    """``value`` as a float, or a CamwallError when it is no finite number ``above`` another."""
    number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not value > above:
        rule = "a finite number" if above == -math.inf else f"finite and above {above:g}"
        raise CamwallError(f"{name} must be {rule}, not {value!r}")
    return float(value)


def check_path(name: str, value: Any) -> Path:
    """``value`` as a path, or a CamwallError for what is none."""
    if not isinstance(value, str | os.PathLike) or "\0" in str(value):
        raise CamwallError(f"{name} must be a path, not {value!r}")
    return Path(value)


def check_file(path: str | Path) -> None:
    """A CamwallError for a pipe or a device, whose reading might not end."""
    try:
        kind = stat.S_IFMT(Path(path).stat().st_mode)
    except (OSError, ValueError):  # as its reading will say
        return
    if kind not in (stat.S_IFREG, stat.S_IFDIR):
        raise CamwallError(f"{path} is no file but a pipe or a device: give a file")


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Import what an extra of camwall brings.

    Raises
    ------
    CamwallError
        It is not installed.
    """
    try:
        with warnings.catch_warnings():
            # Some import tqdm.auto, which prints into every notebook that ipywidgets is missing.
            warnings.filterwarnings("ignore", message="IProgress not found")
            yield
    except ModuleNotFoundError as error:
        package = (error.name or "a package").partition(".")[0]
        raise CamwallError(
            f"this needs {package}, which is not installed: pip install 'camwall[{name}]'"
        ) from None


@contextmanager
def in_one_line(what: str, then: str, *, ours: bool = False) -> Iterator[None]:
    """Say of whatever goes wrong in somebody else's code what it was, why, and what to do.

    Raises
    ------
    CamwallError
        ``what`` (why): ``then``. One of ours passes as it is, unless ``ours`` needs it said too.
    """
    try:
        yield
    except CamwallError as error:
        if not ours:
            raise
        raise CamwallError(f"{what} ({error}): {then}") from None
    except (Exception, SystemExit) as error:
        raise CamwallError(f"{what} ({reason(error)}): {then}") from None
