"""The check: its numbers by hand, its bookkeeping under failure, its share over processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import camwall
from camwall.check import (
    Report,
    bootstrap,
    check,
    compare,
    default_methods,
    published,
    random_level,
    source,
)
from camwall.check.cells import SEGMENT, CellStore
from camwall.cli import main
from camwall.errors import CamwallError
from camwall.models import Preprocessing
from camwall.stacks import store

SIZE, ROW = 16, 8


def small_model():
    """A small network of 4 classes walled at row 8 of 16, maps of 4×4."""
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    preprocessing = Preprocessing((0.5,) * 3, (0.5,) * 3, resize=None, crop=SIZE)
    return camwall.build_wall(camwall.Split(features, head, preprocessing), ROW)


@pytest.fixture
def model():
    return small_model()


@pytest.fixture
def images():
    return torch.rand(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def folder(tmp_path):
    """Five image files."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(5):
        pixels = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
    return tmp_path / "images"


def flat(model, images, target):
    return torch.ones(len(images), SIZE, SIZE)


def below(model, images, target):
    maps = torch.zeros(len(images), SIZE, SIZE)
    maps[:, ROW:] = 3.0
    return maps


def nothing(model, images, target):
    return torch.zeros(len(images), SIZE, SIZE)


def brightness(model, images, target):
    return images.square().mean(dim=1)


def sometimes(model, images, target):
    """Nothing where the first pixel is below one half, else a flat map."""
    return (images[:, :1, :1, 0] >= 0.5).float().expand(-1, SIZE, SIZE)


def quiet(*args, **kwargs) -> Report:
    return check(*args, progress=False, **kwargs)


def test_leaks_of_known_maps(model, images):
    """A flat map scores the flat level, a map all behind the wall 1, no map is counted apart."""
    table = quiet(model, images, [flat, below, nothing]).table
    assert table.loc["flat", "mean"] == pytest.approx(np.sqrt((SIZE - ROW) / SIZE))
    assert table.loc["flat", "std"] == pytest.approx(0)
    assert table.loc["below", ["mean", "low", "high"]].tolist() == [1, 1, 1]
    assert table.loc["nothing", "empty"] == 5
    assert np.isnan(table.loc["nothing", "mean"])
    assert table["sees_through"].tolist() == [True, True, False]


def test_empty_maps_stay_out_of_the_mean(model, images):
    """The mean is over images with a map; the others are counted."""
    images[:2, 0, 0, 0], images[2:, 0, 0, 0] = 0.1, 0.9
    row = quiet(model, images, [sometimes]).table.loc["sometimes"]
    assert row["empty"] == 2
    assert row["images"] == 5
    assert row["mean"] == pytest.approx(model.wall.flat_level)


def test_std_is_unbiased_and_interval_holds_the_mean(model, images):
    """Standard deviation over n − 1, as the paper; the bootstrap interval contains the mean."""
    report = quiet(model, images, [brightness])
    leaks = report.cells["leak"].to_numpy()
    row = report.table.loc["brightness"]
    assert row["std"] == pytest.approx(np.sqrt(((leaks - leaks.mean()) ** 2).sum() / 4))
    assert row["low"] <= row["mean"] <= row["high"]


def test_bootstrap_covers_as_often_as_it_says():
    """Of 95 % intervals of 60 normal values' means, about 95 % hold the true mean."""
    rng = np.random.default_rng(3)
    intervals = [bootstrap(rng.normal(2, 1, 60), resamples=800, seed=i) for i in range(300)]
    covered = np.mean([low <= 2 <= high for low, high in intervals])
    assert 0.90 < covered < 0.985


def test_bootstrap_draws_whole_groups():
    """Each value three times over, in groups of three: the interval of the values themselves."""
    values = np.random.default_rng(4).normal(size=40)
    grouped = bootstrap(np.repeat(values, 3), np.repeat(np.arange(40), 3))
    assert grouped == pytest.approx(bootstrap(values))
    low, high = bootstrap(np.repeat(values, 3))
    assert high - low < 0.7 * (grouped[1] - grouped[0])


def test_random_level_is_near_the_flat_one(model):
    """Noise without preference for a side leaks about as a constant map, and not exactly."""
    level = random_level(model.wall, SIZE, draws=2000)
    assert level == pytest.approx(model.wall.flat_level, abs=0.02)
    assert level == random_level(model.wall, SIZE, draws=2000)


def test_cells_equal_explain_and_leak(model, images):
    """Every cell is the leak of the map `explain` gives for that image alone."""
    report = quiet(model, images)
    for name in default_methods():
        maps = torch.cat([camwall.explain(model, image[None], name) for image in images])
        cells = report.cells[report.cells["method"] == name]
        expected = camwall.leak(maps, model.wall)
        torch.testing.assert_close(torch.tensor(cells["leak"].to_numpy()), expected)


def test_batches_and_files_change_nothing(model, folder):
    """Whether images come as files or a tensor, singly or together, the leaks are the same."""
    paths = sorted(folder.iterdir())
    methods = ["GradCAM", "ScoreCAM", "AblationCAM"]
    one = quiet(model, paths, methods)
    many = quiet(model, model.preprocessing.load(paths), methods, batch=3)
    np.testing.assert_allclose(one.table["mean"], many.table["mean"], rtol=1e-5)
    assert one.cells["image"].tolist()[0] == "0.png"


def test_accuracy_ranks_the_labels(model, images):
    """With the predictions as labels top 1 is 1; with the least likely classes it is 0."""
    with torch.no_grad():
        scores = model(images)
    best, worst = scores.argmax(1).tolist(), scores.argmin(1).tolist()
    assert quiet(model, images, [flat], labels=best).accuracy == {"top1": 1.0, "top5": 1.0}
    report = quiet(model, images, [flat], labels=worst)
    assert report.accuracy == {"top1": 0.0, "top5": 1.0}
    assert (report.cells["rank"] == 3).all()
    with pytest.raises(CamwallError, match="no labels"):
        _ = quiet(model, images, [flat]).accuracy


def test_resumes_after_a_failure(model, images, tmp_path):
    """A run that stops in its third image computes only what is missing when it goes on."""
    calls = []

    def fails_once(model, images, target):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("pulled the plug")
        return torch.ones(len(images), SIZE, SIZE)

    with pytest.raises(RuntimeError, match="plug"):
        quiet(model, images, ["GradCAM", fails_once], run=tmp_path)
    cells = pd.read_parquet(next(tmp_path.glob("cells-*.parquet")))
    assert len(cells) == 5  # two images whole, and GradCAM of the third
    report = quiet(model, images, ["GradCAM", fails_once], run=tmp_path)
    assert len(calls) == 3 + 3
    whole = quiet(model, images, ["GradCAM", flat])
    np.testing.assert_array_equal(report.table.to_numpy(), whole.table.to_numpy())


_KILLED = """
import sys, time, torch, camwall
sys.path.insert(0, sys.argv[1])
from test_check import SIZE, small_model
def slow(model, images, target):
    time.sleep(0.05)
    return torch.ones(len(images), SIZE, SIZE)
images = torch.rand(60, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
print("ready", flush=True)
report = camwall.check(
    small_model(), images, ["GradCAM++", slow], run=sys.argv[2], progress=False
)
print(report.table.to_csv())
"""


def test_sigkill_loses_at_most_one_cell(tmp_path):
    """Killed at some moment, a run keeps whole cells in order, and ends as one never killed."""
    script = tmp_path / "killed.py"
    script.write_text(_KILLED, encoding="utf-8")
    here = str(Path(__file__).parent)

    def start(run: Path) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, str(script), here, str(run)], stdout=subprocess.PIPE, text=True
        )

    killed = start(tmp_path / "a")
    assert killed.stdout is not None
    killed.stdout.readline()
    deadline = time.monotonic() + 60
    while not list((tmp_path / "a").glob("cells-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.4)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    kept = pd.read_parquet(next((tmp_path / "a").glob("cells-*.parquet")))
    order = [(str(i), name) for i in range(60) for name in ("GradCAM++", "slow")]
    assert list(zip(kept["image"], kept["method"], strict=True)) == order[: len(kept)]
    assert 0 < len(kept) < 120
    tables = []
    for run in ("a", "b"):
        out, _ = start(tmp_path / run).communicate(timeout=120)
        tables.append(out)
    assert tables[0] == tables[1]


def test_segments_are_closed_and_read_back(tmp_path):
    """More cells than a file holds go into several, and all come back."""
    store = CellStore(tmp_path, {"model": "m"}, 0)
    for i in range(SEGMENT + 3):
        store.add([{"image": str(i), "method": "x", "leak": i / 7}])
    assert len(list(tmp_path.glob("cells-*.parquet"))) == 2
    (tmp_path / ".unfinished.cells-0000-00001.x.parquet").write_bytes(b"PAR1, cut off by a kill")
    with pytest.raises(CamwallError, match=r"another process number 0 is at work.*--multi_gpu"):
        CellStore(tmp_path, {"model": "m"}, 0)
    CellStore(tmp_path, {"model": "m"}, 1).close()
    store.close()
    again = CellStore(tmp_path, {"model": "m"}, 0)
    again.close()
    assert len(list(tmp_path.iterdir())) == 3  # with run.json
    assert len(again.done()) == SEGMENT + 3
    assert again.found == store.added


def test_damaged_files_of_a_run_cost_one_line(model, images, tmp_path):
    """And what is to be done; a folder that cannot be made, too."""
    quiet(model, images, [flat], run=tmp_path / "run")
    (cells,) = (tmp_path / "run").glob("cells-*.parquet")
    whole = cells.read_bytes()
    cells.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CamwallError, match=r"cells-0000-00000.parquet cannot be read: delete it"):
        quiet(model, images, [flat], run=tmp_path / "run")
    cells.unlink()  # pytest keeps the exception, as a notebook does: the folder is free again
    quiet(model, images, [flat], run=tmp_path / "run")
    assert not list((tmp_path / "run").glob(".process*"))
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(CamwallError, match=r"run.json cannot be read: give this run a folder"):
        quiet(model, images, [flat], run=tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(CamwallError, match=r"cannot write .*file"):
        quiet(model, images, [flat], run=tmp_path / "file" / "cells")


def test_refuses_the_folder_of_another_run(model, images, tmp_path):
    """Cells of other weights or other images are not mixed into a table."""
    quiet(model, images, [flat], run=tmp_path)
    with pytest.raises(CamwallError, match=r"another run \(its images differ\)"):
        quiet(model, images + 1, [flat], run=tmp_path)
    with pytest.raises(CamwallError, match=r"another run \(its labels differ\)"):
        quiet(model, images, [flat], run=tmp_path, labels=[1] * 5)
    other = small_model()
    other.preprocessing = replace(model.preprocessing, std=(0.25,) * 3)
    with pytest.raises(CamwallError, match=r"another run \(its preprocessing differ\)"):
        quiet(other, images, [flat], run=tmp_path)
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    with pytest.raises(CamwallError, match=r"another run \(its model differ"):
        quiet(model, images, [flat], run=tmp_path)


def test_a_method_of_ones_own_spoils_nothing_for_the_next(model, images):
    """Its images are its own; gradients, hidden in the model, and modes are given back."""

    def rude(model, images, target):
        images.mul_(0.1)
        target.zero_()
        model.train()
        model(images).sum().backward()
        return torch.ones(len(images), SIZE, SIZE)

    names = ["GradCAM", "ScoreCAM", "Opti-CAM"]
    alone = quiet(model, images, names).table
    beside = quiet(model, images, [rude, *names]).table
    pd.testing.assert_frame_equal(beside.loc[names], alone)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_folder_and_one_target_for_all(model, folder):
    """As `stacks.load` and `explain` take them; a single file is not a folder."""
    report = quiet(model, folder, ["GradCAM++"], target=2)
    assert report.cells["target"].tolist() == [2] * 5
    listed = quiet(model, sorted(folder.iterdir()), ["GradCAM++"], target=[2] * 5)
    pd.testing.assert_frame_equal(report.table, listed.table)
    with pytest.raises(CamwallError, match="no folder"):
        quiet(model, str(folder / "nowhere"))


def test_a_map_that_is_no_number_names_its_method_and_image(model, images):
    """One of many, found at once."""

    def holed(model, images, target):
        maps = torch.ones(len(images), SIZE, SIZE)
        return maps / (images[:, :1, 0, 0, None] != hole)

    hole = images[3, 0, 0, 0]
    with pytest.raises(CamwallError, match="holed's map of image 3 holds NaN or infinite"):
        quiet(model, images, [holed])


def test_a_score_of_zero_leaves_an_empty_map():
    """A black image's AblationCAM, 0/0, is 0 like its other maps, and is counted."""
    model = camwall.simple_cnn(4, 3, image_size=18, visible_rows=4, classes=3)
    batch = torch.cat([torch.rand(1, 1, 18, 18), torch.zeros(1, 1, 18, 18)])
    names = ["GradCAM", "AblationCAM", "AblationCAM (absolute)"]
    report = quiet(model, batch, names, target=0)
    empty = report.cells.set_index(["image", "method"])["empty"]
    assert empty["1"].all()


def test_a_model_without_a_wall_is_refused_with_a_way_out(images):
    """By everything that takes a walled model."""
    bare = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, 2))
    for call in (
        lambda: quiet(bare, images),
        lambda: camwall.explain(bare, images, "GradCAM"),
        lambda: camwall.explain(bare, images, "GradCAM", engine="grad-cam"),
        lambda: camwall.certify(bare),
    ):
        with pytest.raises(CamwallError, match="build_wall"):
            call()


def test_inference_mode_changes_nothing(model, images):
    """Gradients are taken all the same, of images made inside too."""
    names = ["GradCAM", "HiResCAM", "ScoreCAM"]
    expected, certificate = quiet(model, images, names).table, str(camwall.certify(model))
    with torch.inference_mode():
        found = quiet(model, images.clone(), names)
        assert str(camwall.certify(model)) == certificate
        theirs = camwall.explain(model, images.clone(), "GradCAM", engine="grad-cam")
        target = model(images).argmax(1)
        ours = camwall.explain(model, images.clone(), "GradCAM", target)
        assert torch.is_inference_mode_enabled()
    pd.testing.assert_frame_equal(found.table, expected)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_the_bootstrap_in_blocks_is_the_bootstrap():
    """Memory does not grow with the number of images, and the interval stays the same."""
    values = np.random.default_rng(0).random(3000)
    rng = np.random.default_rng(0)
    means = values[rng.integers(3000, size=(2000, 3000))].mean(axis=1)
    np.testing.assert_allclose(
        bootstrap(values, resamples=2000), np.quantile(means, [0.025, 0.975]), rtol=1e-12
    )


def test_report_survives_saving(model, images, tmp_path):
    """A saved report read back has the same table."""
    report = quiet(model, images, ["GradCAM", "HiResCAM", nothing])
    report.save(tmp_path, {"seed": 0})
    again = Report.load(tmp_path)
    pd.testing.assert_frame_equal(again.table, report.table)
    assert again.wall == report.wall
    assert json.loads((tmp_path / "manifest.json").read_text())["seed"] == 0
    assert "GradCAM" in str(again)
    with pytest.raises(CamwallError, match="no report"):
        Report.load(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ["GradCAMM"]}, "unknown method 'GradCAMM'; known: "),
        ({"methods": []}, "the list is empty"),
        ({"methods": [3]}, "a name, a Method or a function, not 3"),
        ({"methods": ["GradCAM", "GradCAM"]}, "asked for twice"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"target": [0]}, "5 images need 5 targets, not 1"),
        ({"target": [0, 1, 2, 3, 4]}, "target 4 is not one of the model's classes 0 to 3"),
        ({"labels": [0, 1]}, "5 images have 2 labels"),
        ({"labels": [9] * 5}, "label 9 of image 0 is not one of the model's 4 classes"),
        ({"methods": [lambda m, x, t: torch.ones(1, 2, 2)]}, "returns \\[1, 16, 16\\]"),
        ({"methods": [lambda m, x, t: torch.full((1, 16, 16), torch.nan)]}, "NaN"),
    ],
)
def test_bad_input_costs_one_line(model, images, arguments, message):
    """Each mistake has an error of one line that names it."""
    with pytest.raises(CamwallError, match=message) as caught:
        quiet(model, images, **arguments)
    assert "\n" not in str(caught.value)


def test_bad_images_cost_one_line(model, folder):
    """No images, a missing one, a corrupt one, one of another shape."""
    with pytest.raises(CamwallError, match="the set is empty"):
        quiet(model, [])
    with pytest.raises(CamwallError, match="no image at"):
        quiet(model, [folder / "6.png"])
    with pytest.raises(CamwallError, match="given twice"):
        quiet(model, [folder / "1.png", folder / "1.png"])
    Image.new("1", (14_000, 14_000)).save(folder / "3.png")
    with pytest.raises(CamwallError, match=r"3\.png is not an image that can be read \(Image size"):
        quiet(model, sorted(folder.iterdir()), [flat])
    (folder / "3.png").unlink()
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:200])
    with pytest.raises(CamwallError, match=r"2\.png is not an image that can be read"):
        quiet(model, sorted(folder.iterdir()), [flat])
    with pytest.raises(CamwallError, match=r"takes images of shape \[N, 3, 16, W\]"):
        quiet(model, torch.zeros(1, 3, 20, 20), [flat])
    for wrong in (torch.zeros(1, 3, 16, 16).double(), torch.zeros(1, 3, 16, 16).byte()):
        with pytest.raises(CamwallError, match=r"images are torch\."):
            quiet(model, wrong, [flat])


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
    """It is named before the first cell is written, so that the mended set is the run's own."""
    paths = sorted(folder.iterdir())
    whole = paths[-1].read_bytes()
    paths[-1].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CamwallError, match=r"4\.png is not an image"):
        check(model, paths, ["GradCAM"], run=tmp_path / "run", progress=False)
    paths[-1].write_bytes(whole)
    report = check(model, paths, ["GradCAM"], run=tmp_path / "run", progress=False)
    assert len(report.cells) == len(paths)


def test_each_engine_checks_its_own_methods(model, images):
    """Without names, each engine runs what it has; one name need not stand in a list."""
    report = check(model, images[:1], engine="grad-cam", progress=False)
    assert set(report.methods) == {n for n, m in camwall.METHODS.items() if m.package}
    assert report.methods == tuple(default_methods("grad-cam"))
    assert check(model, images[:1], "HiResCAM", progress=False).methods == ("HiResCAM",)


def test_lower_precision_runs_every_method(model, images):
    """autocast gives a leak for each method, those of the package included, near the table's."""
    names = list(camwall.METHODS)
    low = check(model, images, names, autocast=True, progress=False).cells
    full = check(model, images, names, progress=False).cells
    assert np.isfinite(low["leak"]).all()
    exact = ["FEM", "KPCA-CAM", "ShapleyCAM"]  # the package runs them in full precision
    rows = full["method"].isin(exact)
    np.testing.assert_allclose(low["leak"][rows], full["leak"][rows], atol=1e-6)
    assert abs(low["leak"].mean() - full["leak"].mean()) < 0.1


def test_maps_with_a_graph_are_taken_as_they_are(model, images):
    """A method of one's own need not detach what it returns."""

    def own(model, images, target):
        images = images.clone().requires_grad_()
        return (images * 2).mean(dim=1)

    report = check(model, images, [own], progress=False)
    assert report.methods == ("own",)


def test_nan_scores_are_refused(model, images):
    """A model whose scores are NaN gets no table."""
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(CamwallError, match="not finite"):
        quiet(model, images, ["GradCAM"])


def test_comparison_with_the_paper():
    """The paper's own numbers differ from themselves by 0 and rank alike."""
    theirs = published("STACK-MIX")
    assert theirs.loc["GradCAM", "mean"] == pytest.approx(0.227)
    rows, correlation = compare(theirs.assign(images=100, empty=0), "STACK-MIX")
    assert (rows["difference"] == 0).all()
    assert (rows["low"] <= 0).all()
    assert correlation == pytest.approx(1)
    with pytest.raises(CamwallError, match="STACK-MIX, STACK-GEN"):
        published("STACK-OPEN")


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
    methods = ["--method", "GradCAM", "--method", "EigenCAM", "--method", "HiResCAM"]
    command = [*launcher, "camwall", "evaluate", str(photographs), str(out), *methods]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return (out / "table.csv").read_bytes()


def test_stacks_for_another_wall_are_noticed(tmp_path, monkeypatch):
    """Halves put together at row 12 do not meet at a wall at row 8: said, and measured."""
    module = sys.modules["camwall.check.evaluate"]
    monkeypatch.setattr(module, "named_model", lambda *_, **__: small_model())
    for row in (ROW, 12):
        pictures = [(Image.new("RGB", (SIZE, SIZE), "green"), {"row": row})]
        store.build(tmp_path / f"at{row}", "mix", {}, 0, lambda p=pictures: p, 1, progress=False)
    arguments = {"methods": ["GradCAM++"], "progress": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module.evaluate(tmp_path / f"at{ROW}", tmp_path / "out8", **arguments)
    with pytest.warns(UserWarning, match="put together at row 12, the model's wall is at row 8"):
        module.evaluate(tmp_path / "at12", tmp_path / "out12", **arguments)


def test_processes_share_the_reading_and_stop_together(photographs, tmp_path, monkeypatch):
    """Each reads its share; the digest is that of one process, an error every process's."""
    shutil.copytree(photographs, tmp_path / "p")
    paths = sorted((tmp_path / "p").iterdir())
    files = source.Source(small_model(), paths)
    alone = files.digest(SimpleNamespace(process_index=0, num_processes=1, is_main_process=True))

    def shared(rank):
        def gather(own):
            shares = [[source._file_digest(path) for path in paths[k::2]] for k in range(2)]
            assert own == [shares[rank]]
            return shares

        monkeypatch.setattr(source, "gather_object", gather)
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


def test_two_processes_give_the_table_of_one(photographs, tmp_path):
    """Shared out over two processes, the table is the same to the last digit."""
    # With --cpu, accelerate's launcher leaves the start of several processes to MPI.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    two = _evaluate(photographs, tmp_path / "two", [*launch, "--num_processes", "2", "-m"])
    one = _evaluate(photographs, tmp_path / "one", [sys.executable, "-m"])
    assert two == one
    files = {file.name[:10] for file in (tmp_path / "two" / "cells").glob("cells-*.parquet")}
    assert files == {"cells-0000", "cells-0001"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "nowhere", "out"], "nowhere"),
        (["evaluate", "{photographs}", "out", "--method", "Grad"], "unknown method 'Grad'"),
        (["evaluate", "{photographs}", "out", "--row", "150"], "rows that do: 32, 64"),
        (["certify", "--network", "lenet"], "unknown network 'lenet'"),
        (["certify", "--checkpoint", "a.pt"], "a.pt"),
        (["certify", "--network", "vgg16", "--checkpoint", "a.pt"], "not both"),
    ],
)
def test_command_line_errors_are_one_line(
    photographs, tmp_path, arguments, message, monkeypatch, capsys
):
    """A user's mistake ends with status 1, one line, and nothing written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "argv", ["camwall", *(a.format(photographs=photographs) for a in arguments)]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1
    assert not list(tmp_path.rglob("table.csv"))
