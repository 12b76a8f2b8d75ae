"""What recorded runs share."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from filelock import FileLock

from camwall import runs
from camwall.errors import CamwallError

PARAMETERS = '# how many\nn = 100\nrate: float = 0.5  # a share\nname = None\nkinds = ["a"]\n'


def notebook(*cells: str) -> dict:
    """The globals of a notebook that ran these cells."""
    namespace: dict = {"In": ["", *cells]}
    for cell in cells:
        exec(cell, namespace)
    return namespace


def test_parameters_are_returned_with_the_values_they_have_now():
    """papermill's cell overrides the defaults; the result follows the declared order."""
    values = runs.check_parameters(notebook(PARAMETERS, '# Parameters\nname = "x"\nn = 3\n'))
    assert list(values.items()) == [("n", 3), ("rate", 0.5), ("name", "x"), ("kinds", ["a"])]


def test_later_cells_may_define_what_they_like():
    """Only the parameters cell and papermill's count: imports and variables are no parameters."""
    values = runs.check_parameters(notebook(PARAMETERS, "import math\nother = math.pi\n"))
    assert "other" not in values


def test_a_misspelt_parameter_is_refused_and_the_nearest_one_named():
    """papermill only warns about a name that the notebook does not have."""
    with pytest.raises(CamwallError, match=r"unknown parameter 'rat': did you mean 'rate'\?"):
        runs.check_parameters(notebook(PARAMETERS, "# Parameters\nrat = 0.1\n"))


@pytest.mark.parametrize("wrong", ['n = "many"', "n = 1.5", "n = True", "kinds = 3"])
def test_a_value_of_another_type_is_refused(wrong):
    """``-p n many`` would otherwise fail somewhere inside the run."""
    with pytest.raises(CamwallError, match="must be of type"):
        runs.check_parameters(notebook(PARAMETERS, f"# Parameters\n{wrong}\n"))


def test_an_int_goes_for_a_float_and_anything_for_none():
    """``-p rate 1`` is meant, and a default of None says nothing about the type."""
    values = runs.check_parameters(notebook(PARAMETERS, "# Parameters\nrate = 1\nname = 7\n"))
    assert (values["rate"], values["name"]) == (1, 7)


@pytest.mark.parametrize("cells", [(), ("import math\n",), ("a, b = 1, 2\n",)])
def test_a_notebook_not_run_from_the_top_is_refused(cells):
    """Without the parameters cell as the first one there is nothing to compare with."""
    with pytest.raises(CamwallError, match="first code cell"):
        runs.check_parameters(notebook(*cells))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    """Readers see the old file or the new one, never half of it."""
    target = tmp_path / "table.csv"
    target.write_text("old")

    def fails(path):
        path.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        runs.write_atomic(target, fails)
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]
    assert target.read_text() == "old"


def test_an_error_without_text_is_told_by_its_kind(tmp_path):
    """As torch and the system raise some."""
    told = pytest.raises(CamwallError, match=r"cannot write .*table.csv \(RuntimeError\)")
    with told, runs.writing(tmp_path / "table.csv"):
        raise RuntimeError


def test_a_scratch_folder_that_another_process_sweeps_is_made_again(tmp_path, monkeypatch):
    """As long as it is not locked, it looks like one that a killed process left."""
    real, others = tempfile.TemporaryDirectory, []

    def sweep(folder, locked):
        with FileLock(folder / ".camwall-held"):
            locked.set()
            time.sleep(0.2)
            shutil.rmtree(folder)

    def new(**where):
        folder = real(**where)
        if not others:
            locked = threading.Event()
            others.append(threading.Thread(target=sweep, args=(Path(folder.name), locked)))
            others[0].start()
            locked.wait()
        return folder

    monkeypatch.setattr(tempfile, "TemporaryDirectory", new)
    with runs.scratch_beside(tmp_path / "new") as scratch:
        others[0].join()
        assert [path.name for path in scratch.iterdir()] == [".camwall-held"]
    assert not list(tmp_path.iterdir())


def test_what_a_killed_write_left_is_removed(tmp_path):
    """A process that dies in the middle of a write leaves a file that the next run takes away."""
    target = tmp_path / "deep" / "table.csv"
    runs.write_csv(target, pd.DataFrame({"x": [1]}))
    dies = """import os, signal, sys
from camwall import runs
runs.write_atomic(sys.argv[1], lambda file: os.kill(os.getpid(), signal.SIGKILL))"""
    done = subprocess.run([sys.executable, "-c", dies, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(target.parent.iterdir())) == 2
    runs.remove_unfinished(tmp_path)
    assert [p.name for p in target.parent.iterdir()] == ["table.csv"]
    assert target.read_text() == "x\n1\n"


def test_written_tables_and_manifests_are_read_back(tmp_path):
    """CSV keeps the values; JSON takes paths and numpy numbers; new folders are made."""
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "é"]})
    table = runs.write_csv(tmp_path / "new" / "t.csv", frame)
    pd.testing.assert_frame_equal(pd.read_csv(table), frame)
    assert b"\r" not in table.read_bytes()
    content = {"path": tmp_path, "number": frame["a"].sum()}
    file = runs.write_json(tmp_path / "m.json", content)
    assert json.loads(file.read_text()) == {"path": str(tmp_path), "number": 3}


def test_a_manifest_says_how_to_repeat_the_run():
    """Command, parameters, seed, versions, commit and date are all there."""
    entry = runs.manifest({"n": 3}, seed=5, command="do it", device="cpu")
    assert (entry["parameters"], entry["seed"], entry["command"]) == ({"n": 3}, 5, "do it")
    assert entry["device"] == "cpu"
    assert {"python", "camwall", "torch", "grad-cam"} <= entry["versions"].keys()
    assert pd.Timestamp(entry["date"]).tzinfo is not None


def test_the_recorded_command_gives_the_same_parameters(tmp_path):
    """papermill reads back every value that is set, lists among them; what is empty is left out."""
    values = {"filters": [8, 512], "tau": 0.1, "out": "a b", "seed": 3, "methods": [], "row": None}
    line = runs.papermill_command("notebooks/theorem.ipynb", values)
    words = shlex.split(line)
    assert words[:3] == ["papermill", "notebooks/theorem.ipynb", "OUT.ipynb"]
    (at,) = (i for i, word in enumerate(words) if word == "-y")
    given = yaml.safe_load(words[at + 1])
    pairs = {words[i + 1]: words[i + 2] for i, word in enumerate(words) if word == "-p"}
    assert given == {"filters": [8, 512]}
    assert pairs == {"tau": "0.1", "out": "a b", "seed": "3"}


def test_a_folder_is_one_runs_own(tmp_path):
    """The same run comes back to it, also where tuples became lists; another is told what differs;
    what lies there and is nobody's run is left alone."""
    identity = {"seed": 3, "recipe": {"lr": 0.1, "size": (2, 3)}, "digest": "a" * 64}
    folder = runs.claim(tmp_path / "new", identity, file="mine.json", date="today")
    assert json.loads((folder / "mine.json").read_text())["date"] == "today"
    assert runs.claim(folder, identity, file="mine.json", date="tomorrow") == folder
    assert json.loads((folder / "mine.json").read_text())["date"] == "today"
    changed = {"seed": 4, "recipe": {"lr": 0.2, "size": [2, 3]}, "digest": "b" * 64}
    said = r"another run \(seed 3, not 4; recipe.lr 0.1, not 0.2; another digest\)"
    with pytest.raises(CamwallError, match=said):
        runs.claim(folder, changed, file="mine.json")
    with pytest.raises(CamwallError, match=r"holds other files and no run.json that says whose"):
        runs.claim(folder, identity)
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / ".unfinished.run.x.json").write_text("cut off by a kill")
    runs.claim(tmp_path / "made", identity)
    for content in ("{", "3"):
        (tmp_path / "made" / "run.json").write_text(content)
        with pytest.raises(CamwallError, match=r"run.json cannot be read|another run"):
            runs.claim(tmp_path / "made", identity)
    (tmp_path / "file").write_text("")
    with pytest.raises(CamwallError, match="file holds other files"):
        runs.claim(tmp_path / "file", identity)
    with pytest.raises(CamwallError, match=r"cannot write .*deep"):
        runs.claim(tmp_path / "file" / "deep", identity)


@pytest.mark.skipif(sys.platform != "linux", reason="reads what the Linux kernel tells")
def test_peak_memory_is_that_of_the_call():
    """Of an array that is gone when it is asked, and not of one that was there before."""
    before = bytearray(64 * 2**20)
    peak = runs.peak_memory()
    bytearray(32 * 2**20)
    assert 30 < peak() < 40
    assert len(before) == 64 * 2**20
