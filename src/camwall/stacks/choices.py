"""What the builders' parameters may be, and how they choose in turn."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from camwall.errors import CamwallError
from camwall.stacks.store import SIDE


def check_count(n: int) -> None:
    """Refuse a number of stacks below 1."""
    if n < 1:
        raise CamwallError(f"n must be at least 1, not {n}.")


def check_row(row: int, least: int) -> None:
    """Refuse a wall that leaves fewer than ``least`` rows on one side of the image."""
    if not least <= row <= SIDE - least:
        raise CamwallError(
            f"the wall at row {row} leaves no room for two animals in an image of {SIDE} rows: "
            f"take a row between {least} and {SIDE - least}."
        )


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Refuse a value that is not among the known ones."""
    if value not in known:
        raise CamwallError(f"unknown {name} {value!r}: take one of {', '.join(known)}.")


def least_used(rng: np.random.Generator, candidates: Iterable[int], used: Counter[int]) -> int:
    """One of the candidates that were used least so far, now used once more."""
    ordered = sorted(int(candidate) for candidate in candidates)
    fewest = min(used[candidate] for candidate in ordered)
    chosen = int(rng.choice([candidate for candidate in ordered if used[candidate] == fewest]))
    used[chosen] += 1
    return chosen
