"""The README's table is what the records say, and the paper."""

import pandas as pd

from camwall.check.beside import part, printed, published
from camwall.commands.sweep import load_sweep
from camwall.methods import PAPER
from tests.helpers.repository import ROOT


def test_the_readme_says_what_was_measured():
    """Leaks beside the paper's, what they are where nothing is seen, and the response."""
    folder = ROOT / "results" / "open"
    reports = load_sweep(folder)
    whole, floor = reports["whole"], reports["floor"].table
    behind = pd.read_csv(folder / "stacks.csv").set_index("image")["variant"]
    other, same = (part(whole, behind.index[behind == name]).table for name in ("other", "same"))
    leaks = {
        "paper, two animals (STACK-MIX)": published("STACK-MIX"),
        "ours, another species": other,
        "paper, one kind (STACK-GEN)": published("STACK-GEN"),
        "ours, the same species": same,
        "floor": floor,
    }
    rows = [f"| {' | '.join(['method', *leaks, 'response'])} |", "|---" + "|--:" * 6 + "|"]
    for method in PAPER:
        response, _, _ = printed(whole.table, method, "response").partition("\N{NO-BREAK SPACE}")
        shown = [
            f"{100 * table.loc[method, 'mean']:.1f}" if method in table.index else "–"
            for table in leaks.values()
        ]
        shown.append(response if whole.table.loc[method, "moved"] else "0 exactly")
        rows.append(f"| {' | '.join([method, *shown])} |")
    assert "\n".join(rows) in (ROOT / "README.md").read_text(encoding="utf-8"), "\n".join(rows)
    slow = [table.loc[["ScoreCAM", "Opti-CAM"]] for table in (other, same, whole.table)]
    assert {*slow[0]["images"], *slow[1]["images"]} == {17}
    assert {*slow[2]["repainted"]} == {6}
