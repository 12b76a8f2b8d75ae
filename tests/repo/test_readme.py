"""The README's table is what the records say, and the paper."""

import pandas as pd

from camwall.check.beside import part, printed, published
from camwall.commands.sweep import load_sweep
from camwall.methods import PAPER
from tests.helpers.repository import ROOT


def test_the_readme_says_what_was_measured():
    """Row by row: leaks beside the paper's, and the response over another species."""
    folder = ROOT / "results" / "open"
    whole = load_sweep(folder)["whole"]
    behind = pd.read_csv(folder / "stacks.csv").set_index("image")["variant"]
    other, same = (part(whole, behind.index[behind == name]).table for name in ("other", "same"))
    leaks = [published("STACK-MIX"), other, published("STACK-GEN"), same]
    rows = []
    for method in PAPER:
        response, _, _ = printed(other, method, "response").partition("\N{NO-BREAK SPACE}")
        shown = [f"{100 * table.loc[method, 'mean']:.1f}" for table in leaks]
        shown.append(response if other.loc[method, "moved"] else "0 exactly")
        rows.append(f"| {' | '.join([method, *shown])} |")
    text = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in text if line.startswith(tuple(f"| {m} |" for m in PAPER))] == rows
