"""What a chapter does when its data cannot be had: it says so, and the book still builds."""

import json
import re
from collections.abc import Sequence

import pandas as pd
from IPython.core.getipython import get_ipython
from IPython.display import Markdown, display

from camwall import data
from camwall.errors import CamwallError
from camwall.runs import recorded

#: ``glue("name", …)`` in a cell: the text of the page refers to these names.
_GLUED = re.compile(r"\bglue\(\s*[\"']([^\"']+)[\"']")


def _skipped(lines: Sequence[str]) -> list[str]:
    """A cell that does nothing but leave a dash wherever the page would have had a number."""
    names = _GLUED.findall("".join(lines))
    return [
        "from myst_nb import glue as _glue\n",
        "from IPython.display import Markdown as _Markdown\n",
        *(f"_glue({name!r}, _Markdown('–'), display=False)\n" for name in names),
    ]


def needs(*names: str) -> None:
    """Let the cells after this one run only if these data sets (`camwall.data.SOURCES`) can be had.

    Without them the page says which is missing and how to get it, the numbers in its text become
    dashes, and its figures stay away; nothing fails.
    """
    missing = [name for name, folder in data.fetch(names).items() if folder is None]
    if not missing:
        return
    titles = ", ".join(data.SOURCES[name].title for name in missing)
    display(
        Markdown(
            f"**This page was built without its data.** {titles} could not be downloaded: the "
            "figures and numbers below are left out. `camwall fetch` says how to get what is "
            "missing; `make book` then fills them in."
        )
    )
    shell = get_ipython()
    if shell is not None:
        shell.input_transformers_cleanup.append(_skipped)


def on_gpu(*parts: str) -> Markdown:
    """What some parts of `make gpu` found, and on what; or that no GPU has run it yet.

    Of the many maps that are held against a CPU's only those are shown that came out furthest.
    """
    try:
        table = pd.read_csv(recorded("gpu/table.csv"))
        made = json.loads(recorded("gpu/manifest.json").read_text(encoding="utf-8"))
    except CamwallError:
        made = None
    if made is None or made["parameters"]["quick"]:  # small, and on a CPU
        return Markdown(
            "**Nothing here has been run on a GPU yet**: `make gpu` does it on a CUDA machine, in "
            "eight minutes, and this page then shows what it found."
        )
    told = {True: "yes", False: "**no**", "True": "yes", "False": "**no**"}
    lines = ["| part | what | found | peak MiB | as promised |", "|---|---|--:|--:|---|"]
    for part in parts:
        rows = table[table["part"] == part]
        if part == "maps":
            broken = rows["kept"].map(told) == "**no**"
            rows = pd.concat([rows[rows["kept"].notna()].nlargest(3, "value"), rows[broken]])
        for row in rows.drop_duplicates().to_dict("records"):
            peak = row.get("peak MiB", float("nan"))
            number = "–" if pd.isna(row["value"]) else f"{row['value']:.3g} {row['unit']}"
            memory = "–" if pd.isna(peak) else f"{peak:.0f}"
            kept = told.get(row["kept"], "")
            lines.append(f"| {part} | {row['how']} | {number} | {memory} | {kept} |")
    lines += ["", f"{made['device']}, {made['date'][:10]}, commit `{str(made['commit'])[:7]}`, by "]
    return Markdown("\n".join(lines) + "`make gpu`; the manifest is `results/gpu/manifest.json`.")
