"""What `make gpu` runs, on a CPU and small: its code runs, ends in time, keeps its promises."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from camwall import chapters
from camwall.config import quick
from camwall.errors import CamwallError

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture
def gpu(monkeypatch):
    """The script, where no device is to be seen."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.syspath_prepend(SCRIPT.parent)
    yield importlib.import_module("gpu")
    del sys.modules["gpu"]


def test_what_a_gpu_is_asked_runs_on_a_cpu(gpu, tmp_path):
    """Exact zeros, training steps; in full size all parts, each with nothing broken."""
    if quick():  # without processes of their own, and what tests/methods/test_devices.py does
        rows = [{"part": name, **row} for name in ("zeros", "steps") for row in gpu.PARTS[name]()]
        table = pd.DataFrame(rows)
    else:
        done = subprocess.run([sys.executable, SCRIPT, tmp_path, "--quick"], capture_output=True)
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
        table = pd.read_csv(tmp_path / "table.csv")
        assert json.loads((tmp_path / "manifest.json").read_text())["parameters"]["quick"]
        assert {*table["part"]} == {*gpu.PARTS}
        assert table.loc[table["how"] == "killed and resumed", "kept"].all()
        assert (table.loc[table["part"] == "maps", "value"].dropna() == 0).all()
    assert (table["kept"].dropna() == True).all()  # noqa: E712 - None beside booleans
    assert (table.loc[table["unit"] == "exactly 0", "value"] == 0).all()
    assert (table.loc[table["part"] == "steps", "value"] > 0).all()


def test_a_part_that_is_late_or_fails_is_a_row(gpu, tmp_path):
    """The others go on; table and manifest are there, and the exit status says so."""
    assert gpu.all_parts(tmp_path, 0.1) == 1
    table = pd.read_csv(tmp_path / "table.csv")
    assert table["part"].tolist() == list(gpu.PARTS)
    assert table["how"].str.startswith("stopped after 0 s").all()
    assert not table["kept"].any()
    assert json.loads((tmp_path / "manifest.json").read_text())["device"] == "cpu"
    (row,) = gpu.tried("nonsense", 300)
    assert row["kept"] is False
    assert row["how"] == "failed: KeyError: 'nonsense'"


def test_pages_show_what_a_gpu_found_and_nothing_else_as_that(tmp_path, monkeypatch):
    """No record, or a quick one of a CPU, is said to be none."""

    def recorded(name):
        if not (tmp_path / name).is_file():
            raise CamwallError(f"no recorded run results/{name}")
        return tmp_path / name

    monkeypatch.setattr(chapters, "recorded", recorded)
    none = "Nothing here has been run on a GPU yet"
    assert none in chapters.on_gpu("steps").data
    (tmp_path / "gpu").mkdir()
    rows = [("steps", "whole", 8.0, "images/s", None, 512.0), ("zeros", "x", 1, "s", False, None)]
    rows += [("maps", str(n), n * 1e-5, "of the norm", True, None) for n in range(9)]
    columns = ["part", "how", "value", "unit", "kept", "peak MiB"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "gpu" / "table.csv", index=False)
    for is_quick in (True, False):
        made = {"parameters": {"quick": is_quick}, "device": "Card X", "commit": "0123456789"}
        made["date"] = "2026-11-26T00:00:00"
        (tmp_path / "gpu" / "manifest.json").write_text(json.dumps(made))
        said = chapters.on_gpu("steps", "maps", "zeros").data
        assert (none in said) == is_quick
    assert "| steps | whole | 8 images/s | 512 |  |" in said
    assert "| zeros | x | 1 s | – | **no** |" in said
    assert said.count("| maps |") == 3
    assert "| maps | 8 | 8e-05 of the norm | – | yes |" in said
    assert "Card X, 2026-11-26, commit `0123456`" in said
