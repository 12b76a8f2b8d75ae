"""What bad input ends in, and what is beside it that it could damage."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from camwall.config import quick
from camwall.errors import CamwallError

#: Texts that are no whole number.
NO_NUMBERS = ["x", "1.5", "nan", "inf", "1e3", "0x10", "-1", "9" * 5000, "²"]
NO_PATH = "a" * 5000


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Nothing may hang."""

    def late(*given: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fault(call: Callable[[], Any], named: str = "") -> str | None:
    """What is wrong with the end of a call; None for one line of ours that has ``named`` in it.

    A call that ends as if all were well is wrong too.
    """
    try:
        with within(60):
            found = call()
    except CamwallError as error:
        said = str(error)
        return None if "\n" not in said and named in said else f"says {said[:300]!r}"
    except Exception as error:
        return f"a bare {type(error).__name__}: {str(error)[:160]!r}"
    return f"is accepted: {str(found)[:60]!r}"


def tree(folder: Path, but: Sequence[str] = ()) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its size and time, but for some names in it."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if name.parts[0] not in but and "__pycache__" not in name.parts:
            told = path.lstat()
            found[str(name)] = told.st_size, 0 if path.is_dir() else told.st_mtime_ns
    return found


def some_of(cases: list[Any], count: int) -> list[Any]:
    """All of them; in a smoke run so many."""
    return Random(0).sample(cases, min(count, len(cases))) if quick() else cases
