"""A check that is cut off, taken up again, refused a folder, or shared out over processes."""

import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from camwall.check import check
from camwall.check import images as image_sets
from camwall.check.store import RecordStore
from camwall.errors import CamwallError
from tests.helpers.checks import (
    ROW,
    SIZE,
    brightness,
    flat,
    quiet,
    small_model,
    walled,
)


def kept(folder: Path) -> list[dict]:
    """The records of a run of one process."""
    lines = (folder / "records-0000.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line.partition("\t")[0]) for line in lines[:-1]]


def test_resumes_after_a_failure(model, images, tmp_path):
    """A run that stops in its third image computes only what is missing when it goes on."""
    calls = []

    def fails_once(model, images, target):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("pulled the plug")
        return torch.ones(len(images), SIZE, SIZE)

    def run():
        # Without repaints: one call for each record.
        return quiet(model, images, ["GradCAM", fails_once], metrics=["leak"], run=tmp_path)

    with pytest.raises(RuntimeError, match="plug"):
        run()
    assert len(kept(tmp_path)) == 5  # two images whole, and GradCAM of the third
    report = run()
    assert len(calls) == 3 + 3
    whole = quiet(model, images, ["GradCAM", flat], metrics=["leak"])
    pd.testing.assert_frame_equal(
        report.table.reset_index(drop=True), whole.table.reset_index(drop=True)
    )


def test_resumes_with_the_same_responses(model, images, tmp_path):
    """Cut off among the repaints of its third image, a run ends with the records of a whole one."""
    methods, calls = ["GradCAM", "HiResCAM"], []

    def fragile(model, images, target):
        calls.append(1)
        if len(calls) == 2 * 6 + 4:  # a map, the same again, four repaints: for each image
            raise RuntimeError("pulled the plug")
        return brightness(model, images, target)

    with pytest.raises(RuntimeError, match="plug"):
        quiet(model, images, [*methods, fragile], run=tmp_path)
    assert len(kept(tmp_path)) == 2 * 3 + 2
    calls.append(1)
    cut = quiet(model, images, [*methods, fragile], run=tmp_path).records
    assert len(calls) == 2 * 6 + 4 + 1 + 3 * 6
    whole = quiet(model, images, [*methods, fragile]).records
    assert (whole.set_index("method").loc[["GradCAM", "fragile"], "response"] > 0).all()
    pd.testing.assert_frame_equal(cut.drop(columns="seconds"), whole.drop(columns="seconds"))


_KILLED = """
import sys, time, torch, camwall
sys.path.insert(0, sys.argv[1])
from tests.helpers.checks import SIZE, small_model
def slow(model, images, target):
    time.sleep(0.01)
    return torch.ones(len(images), SIZE, SIZE)
images = torch.rand(60, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
print("ready", flush=True)
report = camwall.check(
    small_model(), images, ["GradCAM++", slow], run=sys.argv[2], progress=False
)
print(report.table.to_csv())
"""


def test_sigkill_loses_at_most_one_record(tmp_path):
    """Killed at some moment, a run keeps whole records in order, and ends as one never killed."""
    script = tmp_path / "killed.py"
    script.write_text(_KILLED, encoding="utf-8")
    here = str(Path(__file__).parents[2])

    def start(run: Path) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, str(script), here, str(run)], stdout=subprocess.PIPE, text=True
        )

    killed = start(tmp_path / "a")
    assert killed.stdout is not None
    killed.stdout.readline()
    deadline = time.monotonic() + 60
    while not list((tmp_path / "a").glob("records-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.4)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    found = kept(tmp_path / "a")
    order = [(str(i), name) for i in range(60) for name in ("GradCAM++", "slow")]
    assert [(record["image"], record["method"]) for record in found] == order[: len(found)]
    assert 0 < len(found) < 120
    tables = []
    for run in ("a", "b"):
        out, _ = start(tmp_path / run).communicate(timeout=120)
        tables.append(out)
    assert tables[0] == tables[1]


def test_records_come_back_to_the_last_bit(tmp_path):
    """Floats, NaN and infinity among them; one process of a number at a time."""
    store = RecordStore(tmp_path, {"model": "m"}, 0)
    values = [0.1 + 0.2, 1e-320, 5.0, math.inf, -0.0, 2 / 3]
    for number, value in enumerate(values):
        store.add([{"image": str(number), "method": "é", "leak": value, "response": math.nan}])
    with pytest.raises(CamwallError, match=r"another process number 0 is at work.*--multi_gpu"):
        RecordStore(tmp_path, {"model": "m"}, 0)
    RecordStore(tmp_path, {"model": "m"}, 1).close()
    store.close()
    again = RecordStore(tmp_path, {"model": "m"}, 0)
    again.close()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"run.json", "records-0000.jsonl", "records-0001.jsonl"}
    assert [record["leak"].hex() for record in again.found] == [value.hex() for value in values]
    assert all(math.isnan(record["response"]) for record in again.found)
    assert repr(again.found) == repr(store.added)


def test_a_line_that_a_kill_cut_off_is_dropped(tmp_path):
    """Wherever it was cut, the lines before it stand, and the next one is whole again."""
    first, second = ({"image": name, "method": "x", "leak": 0.25} for name in "ab")
    store = RecordStore(tmp_path, {}, 0)
    store.add([first, second])
    store.close()
    file = tmp_path / "records-0000.jsonl"
    whole = file.read_bytes()
    start = whole.index(b"\n") + 1
    for cut in (start + 1, start + 9, len(whole) - 1):
        file.write_bytes(whole[:cut])
        RecordStore(tmp_path, {}, 1).close()  # another process leaves the file as it is
        assert len(file.read_bytes()) == cut
        store = RecordStore(tmp_path, {}, 0)
        assert store.found == [first]
        store.add([second])
        store.close()
        assert file.read_bytes() == whole


def test_damaged_files_of_a_run_cost_one_line(model, images, tmp_path):
    """And what is to be done; a folder that cannot be made, too."""
    quiet(model, images, [flat], run=tmp_path / "run")
    (file,) = (tmp_path / "run").glob("records-*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    for damage in (lines[2][:20] + b"\n", b"3\n", b"{}\n", b"\xff\n"):
        file.write_bytes(b"".join([*lines[:2], damage, *lines[3:]]))
        with pytest.raises(CamwallError, match=r"line 3 of .*records-0000.jsonl is damaged: del"):
            quiet(model, images, [flat], run=tmp_path / "run")
    # pytest keeps the exception, as a notebook does: the folder is free again
    file.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    quiet(model, images, [flat], run=tmp_path / "run")
    assert sorted(map(_without_seconds, kept(tmp_path / "run"))) == sorted(
        _without_seconds(json.loads(line.partition(b"\t")[0])) for line in lines
    )
    assert not list((tmp_path / "run").glob(".process*"))
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(CamwallError, match=r"run.json cannot be read: give this run a folder"):
        quiet(model, images, [flat], run=tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(CamwallError, match=r"cannot write .*file"):
        quiet(model, images, [flat], run=tmp_path / "file" / "records")


def test_a_full_disk_is_one_line(tmp_path):
    """Also as the store is closed, which tries again to write what was not taken."""
    store = RecordStore(tmp_path, {}, 0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        for act in (lambda: store.add([{"image": "x" * 200, "method": "x"}]), store.close):
            with pytest.raises(
                CamwallError, match=r"cannot write .*records-0000.jsonl .*too large"
            ):
                act()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    RecordStore(tmp_path, {}, 0).close()  # nobody holds it


def _without_seconds(record: dict) -> str:
    return str({name: value for name, value in record.items() if name != "seconds"})


def test_refuses_the_folder_of_another_run(model, images, tmp_path):
    """Records of other weights or other images are not mixed into a table."""
    quiet(model, images, [flat], run=tmp_path)
    restyled, scaled = small_model(), small_model()
    restyled.preprocessing = replace(model.preprocessing, std=(0.25,) * 3)
    with torch.no_grad():
        next(scaled.parameters()).mul_(2)
    closer = small_model()
    closer.visible_cells = closer.visible_cells.clone()
    closer.visible_cells[0, 0] = False
    for said, other, batch, changes in (
        (r"another images", model, images + 1, {}),
        (r"repaints .*, not ..grey", model, images, {"repaints": ["grey", "noise"]}),
        (r"metrics .*; repaints .*, not \[\]", model, images, {"metrics": ["leak"]}),
        (r"wall.hidden \[\[8, .*, not \[\[12, 0, 16, 16\]\]", walled(ROW + 4), images, {}),
        (r"another visible cells", closer, images, {}),
        (r"another ground", walled(ROW, "apart"), images, {}),
        (r"labels null, not \[1, 1, 1, 1, 1\]", model, images, {"labels": [1] * 5}),
        (r"another preprocessing", restyled, images, {}),
        (r"another model", scaled, images, {}),
    ):
        with pytest.raises(CamwallError, match=rf"another run \({said}"):
            quiet(other, batch, [flat], run=tmp_path, **changes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": [0, 1, 2, 3, 4]}, "label 4 of image 4"),
        ({"target": [0, 1, 2, 3, 4]}, "target 4 is not one of"),
        ({"engine": "gradcam"}, "unknown engine 'gradcam'; known: camwall, grad-cam"),
        ({"engine": "grad-cam", "methods": ["GradCAM", "Opti-CAM"]}, "grad-cam has no Opti-CAM"),
    ],
)
def test_bad_requests_leave_no_run_behind(model, images, tmp_path, arguments, message):
    """What cannot be checked is refused before anything is computed or written."""
    with pytest.raises(CamwallError, match=message):
        check(model, images, run=tmp_path / "run", progress=False, **arguments)
    assert not (tmp_path / "run").exists()


def test_a_corrupt_image_can_be_replaced(model, folder, tmp_path):
    """It is named before the first record is written, so that the mended set is the run's own."""
    paths = sorted(folder.iterdir())
    whole = paths[-1].read_bytes()
    paths[-1].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CamwallError, match=r"4\.png is not an image"):
        check(model, paths, ["GradCAM"], run=tmp_path / "run", progress=False)
    paths[-1].write_bytes(whole)
    report = check(model, paths, ["GradCAM"], run=tmp_path / "run", progress=False)
    assert len(report.records) == len(paths)


def test_groups_and_metrics_of_any_type_are_taken_up(model, folder, tmp_path):
    """Pairs with numbers of NumPy as groups, yes and no as a metric; a group for each image."""

    def some(evidence, maps):
        return evidence.scores.argmax(1) > 0

    paths = sorted(folder.iterdir())
    groups = [("a", np.int64(place // 2)) for place in range(len(paths))]
    pairs, asked = SimpleNamespace(paths=paths, groups=groups), ["response", "leak", some]
    first, again = (
        quiet(model, pairs, [flat], metrics=asked, run=tmp_path / "run") for _ in range(2)
    )
    assert again.table.equals(first.table)
    with pytest.raises(CamwallError, match="5 images have 6 groups"):
        quiet(model, SimpleNamespace(paths=paths, groups=[*groups, 1]), [flat])
    with pytest.raises(CamwallError, match=r"a group is of a kind that changes .*list"):
        quiet(model, SimpleNamespace(paths=paths, groups=[[1]] * len(paths)), [flat])
    numbers = SimpleNamespace(paths=paths, groups=np.arange(len(paths)))
    assert quiet(model, numbers, [flat]).records["group"].nunique() == len(paths)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Three 224×224 images of smooth colour."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(5)
    for i in range(3):
        small = rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        Image.fromarray(small).resize((224, 224)).save(folder / f"{i}.png")
    return folder


def _evaluate(photographs: Path, out: Path, launcher: list[str]) -> bytes:
    asked = ["--methods", "GradCAM,EigenCAM,HiResCAM", "--out", str(out)]
    command = [*launcher, "camwall", "check", "efficientnet-lite0", str(photographs), *asked]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return (out / "table.csv").read_bytes()


def test_processes_share_the_reading_and_stop_together(photographs, tmp_path, monkeypatch):
    """Each reads its share; the digest is that of one process, an error every process's."""
    shutil.copytree(photographs, tmp_path / "p")
    paths = sorted((tmp_path / "p").iterdir())
    files = image_sets.ImageSet(paths, small_model().preprocessing)
    alone = files.digest(SimpleNamespace(process_index=0, num_processes=1, is_main_process=True))

    def shared(rank):
        def gather(own):
            shares = [[image_sets._file_digest(path) for path in paths[k::2]] for k in range(2)]
            assert own == [shares[rank]]
            return shares

        monkeypatch.setattr(image_sets, "gathered", gather)
        state = SimpleNamespace(process_index=rank, num_processes=2, is_main_process=rank == 0)
        return files.digest(state)

    assert shared(0) == shared(1) == alone
    for broken, message in (
        (lambda: paths[1].write_bytes(b"?"), r"1.png is not an image that can be read"),
        (lambda: (paths[1].unlink(), paths[1].mkdir()), r"1.png cannot be read: Is a directory"),
        (lambda: paths[1].rmdir(), r"no image at .*1.png"),
    ):
        broken()
        for rank in range(2):
            with pytest.raises(CamwallError, match=message):
                shared(rank)


def test_two_processes_give_the_table_of_one(photographs, tmp_path, record_property):
    """Shared out over two processes, the table is the same to the last digit."""
    # With --cpu, accelerate's launcher leaves the start of several processes to MPI.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    two = _evaluate(photographs, tmp_path / "two", [*launch, "--num_processes", "2", "-m"])
    one = _evaluate(photographs, tmp_path / "one", [sys.executable, "-m"])
    assert two == one
    record_property("bytes by two processes and by one", len(two))
    files = {file.name for file in (tmp_path / "two" / "records").glob("records-*")}
    assert files == {"records-0000.jsonl", "records-0001.jsonl"}
