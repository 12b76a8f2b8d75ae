"""What `make gpu` runs, on a CPU and small: that its code runs and its promises hold here."""

import runpy
import sys
from pathlib import Path

import pandas as pd
import torch

from camwall.config import quick

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def test_what_a_gpu_is_asked_runs_on_a_cpu(tmp_path, monkeypatch):
    """Responses are exactly 0, maps those of the CPU, a resumed run has the weights of another."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(tmp_path), "--quick"])
    if quick():  # all but what starts processes and times checks
        script = runpy.run_path(str(SCRIPT))
        cpu = torch.device("cpu")
        rows = [row for part in ("zeros", "maps", "steps") for row in script[part](cpu, True)]
        table = pd.DataFrame(rows)
    else:
        runpy.run_path(str(SCRIPT), run_name="__main__")
        assert (tmp_path / "manifest.json").is_file()
        table = pd.read_csv(tmp_path / "table.csv")
        assert (table.loc[table["part"] == "a kill and a resume", "value"] == 0).all()
        assert {"check", "a kill and a resume"} < set(table["part"])
    values = table.set_index("part")["value"]
    assert (values["response"] == 0).all()
    assert (values["maps as on the CPU"] == 0).all()
    assert (values["training"] > 0).all()
    assert table.loc[table["part"] == "response", "promised"].all()
