"""The verdict on a method and its cause, from the records of its maps."""

from collections.abc import Sequence

import pandas as pd

from camwall.metrics.experiments import DRAWS, ROUNDING, Findings

#: The metrics that a verdict is made of.
VERDICT = ("response", "leak", "leak_clear")
#: The columns of the records that a cause is made of: see `camwall.metrics.experiments.Findings`.
FINDINGS = Findings._fields
#: The images that the experiments are made on.
TRIED = 3
#: What varies by less than this share of itself is a constant.
EVEN = 1e-3

#: What a method does behind a wall, by the two by two of response and leak.
VERDICTS = {
    "blind": "no repaint moves a map, and every map is 0 behind the wall",
    "blind but for bleed": "no repaint moves a map, and what is not 0 behind the wall is what "
    "interpolation carries across",
    "points there without looking": "no repaint moves a map, and maps are not 0 behind the wall",
    "sees through": "a repaint moves maps, and maps are not 0 behind the wall",
    "changes elsewhere": "a repaint moves maps, and every map is 0 behind the wall but for "
    "what interpolation carries across",
}

NOT_FOUND = "not found"
#: Why a map is not 0 behind the wall though no repaint moves it, each told by an experiment.
CAUSES = {
    "resize bleed": "on the grid it was resized from, the map is 0 behind the wall",
    "window straddles the wall": "with the wall further away, nothing is left where it stood: what "
    "was there came from beside it, by windows, segments, a blur or a shift that reach across",
    "estimator noise": "it changes with the seed, and what several seeds agree on falls as that of "
    "noise does",
    "a constant or a veil": "the same value stands everywhere behind the wall, but for noise that "
    "averages out",
    NOT_FOUND: "no experiment tells: it is none of the above, or was not tried",
}


def to_be_tried(records: pd.DataFrame, methods: Sequence[str]) -> list[tuple[str, str]]:
    """The images and methods that the experiments are needed for.

    Of each method that no repaint moves the first `TRIED` images with a leak, clear of bleed where
    any has one.
    """
    found = []
    for name in methods:
        own = records[records["method"] == name]
        if own[[*VERDICT]].isna().all().any() or (own["response"] > 0).any():
            continue
        leaks = [own[own[metric] > ROUNDING] for metric in ("leak_clear", "leak")]
        first = next((each for each in leaks if len(each)), leaks[0])["image"][:TRIED]
        found += [(image, name) for image in first]
    return found


def _cause(tried: pd.DataFrame) -> str:
    """The cause that the findings on all images that were tried tell together."""
    mean = tried.mean()
    if len(tried) and (tried["on_grid"] <= ROUNDING).all():
        return "resize bleed"
    if mean["uneven"] <= EVEN:  # first: cut at 0, a veil whose sign turns is gone further away
        return "a constant or a veil"
    if tried["retreated"].max() <= ROUNDING:
        return "window straddles the wall"
    if mean["agreed"] <= DRAWS**-0.5:
        return "estimator noise"
    if mean["uneven"] <= mean["by_chance"]:
        return "a constant or a veil"
    return NOT_FOUND


def judged(records: pd.DataFrame) -> tuple[str | None, str | None]:
    """The verdict on one method's records and its cause; None where it was not measured.

    Of a method that looks behind the wall the cause is what the register says of its mechanism; of
    one that is blind there is none.
    """
    if records[[*VERDICT]].isna().all().any():
        return None, None
    clear, leaks = records["leak_clear"] > ROUNDING, records["leak"] > ROUNDING
    if (moved := records["response"] > 0).any():
        why = records.get("mechanism", pd.Series(dtype=object))[moved].dropna()
        return (
            "sees through" if clear.any() else "changes elsewhere",
            why.iloc[0] if len(why) else NOT_FOUND,
        )
    if not leaks.any():
        return "blind", None
    tried = records.reindex(columns=[*FINDINGS]).dropna(how="all")
    cause = _cause(tried)
    # Behind a thin wall all pixels are ones that interpolation fills: the experiments decide.
    if clear.any() or (cause != "resize bleed" and len(tried)):
        return "points there without looking", cause
    return "blind but for bleed", cause
