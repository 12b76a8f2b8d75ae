"""The command, the notebook's run, the leak per epoch, and runs joined."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import pandas as pd
import papermill
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import camwall
from camwall import explain, leak, load_checkpoint
from camwall.commands.cli import app
from camwall.commands.collect import collect_runs, paired_leaks, percent, share
from camwall.commands.train import train_study
from camwall.errors import CamwallError
from camwall.metrics import is_empty
from camwall.metrics.leak import FOLLOWED, follow_leaks
from camwall.models import small_vgg
from camwall.train import TrainingData, fit, pair_stacks
from camwall.train.probes import probe_images
from camwall.train.sources import ArraySource
from tests.helpers.repository import ROOT
from tests.helpers.training import RECIPE, kill, make_data, make_model, see_stripes_alone, stripes


def test_followed_leaks_are_the_means_of_leak():
    """Each number is the mean of `leak` over the maps of `explain` that are not empty; where the
    wall is, the position-wise methods have none, and the stacks' split changes nothing."""
    data = make_data()
    model = make_model(data).eval()
    stacks, _ = pair_stacks(data.test, model, 7)
    row = follow_leaks(stacks, batch=3)(model)
    assert {tuple(name.split("/")) for name in row} == {
        (what, method) for what in ("leak", "error", "empty") for method in FOLLOWED
    }
    for method in FOLLOWED:
        maps = explain(model, stacks, method)
        kept = maps[~is_empty(maps)]
        assert row[f"empty/{method}"] == 7 - len(kept)
        leaks = leak(kept, model.wall)
        assert row[f"leak/{method}"] == pytest.approx(float(leaks.mean()), abs=1e-6)
        error = float(leaks.std()) / len(leaks) ** 0.5
        assert row[f"error/{method}"] == pytest.approx(error, abs=1e-6)
    assert row["leak/HiResCAM"] == row["leak/LayerCAM"] == 0
    assert row["leak/GradCAM"] > 0.1


def test_all_maps_empty_leaves_the_mean_out():
    """A method whose maps are all zero has a count of them and no mean."""
    data = make_data()
    model = make_model(data).eval()
    with torch.no_grad():
        model.head[1].weight.zero_()
    row = follow_leaks(torch.rand(3, 1, 28, 28), ["HiResCAM"])(model)
    assert row == {"empty/HiResCAM": 3.0}


def test_the_command_trains_certifies_and_records(tmp_path):
    """One command leaves metrics with leaks, the model, and a manifest with its own words; the
    network it saved certifies, and answers as often rightly as the metrics say."""
    out = tmp_path / "run"
    arguments = ["train", str(out), "--epochs", "6", "--stacks", "5", "--seed", "3"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "blind to rows 15–27" in done.stdout
    metrics = pd.read_csv(out / "metrics.csv")
    assert metrics["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert metrics["leak/GradCAM"].between(0, 1).all()
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["seed"] == 3
    assert manifest["parameters"]["study"] == "digits"
    assert manifest["parameters"]["lr_step"] == 2  # of 6 epochs, as 30 of 90
    assert len(manifest["certificates"]) == 2
    trained = train_study("digits", out=out, epochs=6, stacks=5, seed=3, progress=False)
    loaded = load_checkpoint(out / "model.pt")
    inputs, _ = pair_stacks(trained.data.test, loaded, 50)
    assert torch.equal(loaded(inputs), trained.model(inputs))
    images = torch.stack([i.float() / 255 for i in trained.data.test.images])
    scores = loaded(loaded.preprocessing.normalize(images))
    right = float((scores.argmax(1) == trained.data.test.labels).float().mean())
    assert right == pytest.approx(metrics["test_top1"].iloc[-1], abs=1e-6)


def test_the_launcher_shares_a_run_out(tmp_path):
    """As the README says it: two processes on CPUs are one training, not two."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += ["--num_processes", "2", "-m", "camwall", "train", str(tmp_path / "run")]
    launch += ["--epochs", "2", "--stacks", "10"]
    done = subprocess.run(
        launch, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("top-1") == 1
    made = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert made["processes"] == 2
    camwall.certify(load_checkpoint(tmp_path / "run" / "model.pt"))


def test_runs_are_joined(tmp_path):
    """Masked and baseline stand side by side, one row a run, a row for each epoch, and a row for
    each method; the wall shows in the masked network's row alone."""
    for masked in (True, False):
        out = tmp_path / "runs" / str(masked)
        train_study("digits", masked=masked, out=out, epochs=2, stacks=10, progress=False)
    networks = collect_runs(tmp_path / "runs", tmp_path / "out", methods=("GradCAM", "HiResCAM"))
    assert sorted(networks["network"]) == ["baseline", "masked"]
    assert networks["test_top1"].between(0, 1).all()
    metrics = pd.read_csv(tmp_path / "out" / "metrics.csv")
    assert metrics.groupby("network")["epoch"].apply(list).to_dict() == {
        "baseline": [1, 2],
        "masked": [1, 2],
    }
    leaks = pd.read_csv(tmp_path / "out" / "leaks.csv").set_index(["network", "method"])
    assert leaks.loc[("masked", "HiResCAM"), ["mean", "response"]].tolist() == [0, 0]
    assert leaks.loc[("masked", "GradCAM"), "verdict"] == "sees through"
    assert leaks.loc[("baseline", "HiResCAM"), "mean"] > 0
    assert leaks.loc["baseline", ["response", "verdict"]].isna().all().all()  # nothing is hidden
    assert len(json.loads((tmp_path / "out" / "manifest.json").read_text())["runs"]) == 2
    with pytest.raises(CamwallError, match="no finished run"):
        collect_runs(tmp_path / "out", tmp_path / "other")
    (tmp_path / "runs" / "True" / "metrics.csv").unlink()
    with pytest.raises(CamwallError, match=r"True lacks its metrics.csv: give its train command"):
        collect_runs(tmp_path / "runs", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_network_dead_on_noise_is_probed_on_real_images(tmp_path):
    """A network that answers to few of its own images, and to nothing else, certifies before
    training and after it; by noise alone it would be refused."""
    images = stripes(64)
    source = ArraySource(images, torch.arange(64) % 2)
    torch.manual_seed(0)
    model = small_vgg(channels=3, classes=2)
    see_stripes_alone(model)
    with pytest.raises(CamwallError, match="does not look at the image"):
        camwall.certify(model, probes=1)
    data = TrainingData("stripes", source, source, model.preprocessing, ("0", "1"))
    chosen = probe_images(model, source)
    striped = [any(torch.equal(image * 255, each) for each in images[::8]) for image in chosen]
    assert striped[:2] == [True, True]
    recipe = replace(RECIPE, epochs=1, lr=1e-6, crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0))
    run = fit(model, data, recipe, tmp_path, progress=False)
    assert [line.partition(" to ")[0] for line in run.certificates] == ["blind", "blind"]


def test_a_network_that_training_killed_is_kept(tmp_path, monkeypatch):
    """A network without a gradient on any image ends the run with its model, its metrics, a
    manifest, and one line that says so; runs joined name it."""
    for index, image in enumerate(stripes(40)):
        file = tmp_path / "images" / "ab"[index % 2] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
    monkeypatch.setattr(import_module("camwall.metrics.leak"), "follow_leaks", lambda stacks: kill)
    out = tmp_path / "runs" / "dead"
    arguments = ["train", str(out), "--study", "folder", "--data", str(tmp_path / "images")]
    done = CliRunner().invoke(app, [*arguments, "--small", "--epochs", "1", "--batch", "16"])
    assert done.exit_code == 0, done.output
    assert done.stdout.count("not certified: no ") == 1
    assert json.loads((out / "manifest.json").read_text())["certificates"][1] in done.stdout
    assert len(pd.read_csv(out / "metrics.csv")) == 1
    dead = load_checkpoint(out / "model.pt", certified=False)
    assert dead(torch.rand(2, 3, 28, 28)).diff(dim=0).abs().max() == 0
    with pytest.raises(CamwallError, match=r"runs/dead: no .*; leave this run out"):
        collect_runs(tmp_path / "runs", tmp_path / "out")


def test_leaks_are_paired_by_seed():
    """Differences, their errors and the t interval by hand; a seed with one network is left out."""
    leaks = pd.DataFrame(
        [
            (network, seed, method, mean, 0.3, 10, 1)
            for method, rows in {
                "A": {"baseline": (0.5, 0.6, 0.9), "masked": (0.1, 0.1)},
                "B": {"baseline": (0.2, 0.4, 0.9), "masked": (0.3, 0.2)},
            }.items()
            for network, means in rows.items()
            for seed, mean in enumerate(means)
        ],
        columns=["network", "seed", "method", "mean", "std", "images", "empty"],
    )
    each, means = paired_leaks(leaks)
    assert each["method"].tolist() == ["A", "A", "B", "B"]
    assert each["seed"].tolist() == [0, 1, 0, 1]
    assert each["difference"].to_numpy() == pytest.approx([0.4, 0.5, -0.1, 0.2])
    assert each["error"].to_numpy() == pytest.approx([(2 * 0.3**2 / 9) ** 0.5] * 4)
    assert means.loc["A", "mean"] == pytest.approx(0.45)
    assert means.loc["A", "error"] == pytest.approx(0.05)
    # t of one degree of freedom leaves 2.5 % beyond tan(0.475 π) = 12.706.
    assert means.loc["A", "low"] == pytest.approx(0.45 - 12.7062 * 0.05, abs=1e-4)
    assert means["apart"].tolist() == [False, False]
    assert paired_leaks(leaks, level=0.8)[1]["apart"].tolist() == [True, False]
    assert percent(pd.Series([-0.4, -0.5])) == "\N{MINUS SIGN}45.0 ± 5.0"
    assert share(0.2, 16, digits=0) == "20 ± 10"
    with pytest.raises(CamwallError, match="two seeds"):
        paired_leaks(leaks[leaks["seed"] == 0])


def test_tensorboard_gets_each_epochs_numbers(tmp_path):
    """The event file holds the loss of each epoch that metrics.csv has."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    data = make_data()
    recipe = replace(RECIPE, epochs=2)
    run = fit(make_model(data), data, recipe, tmp_path, progress=False, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    values = [event.value for event in events.Scalars("train_loss")]
    assert values == pytest.approx(run.history["train_loss"].tolist(), rel=1e-6)
    for before in (lambda: shutil.rmtree(tmp_path / "tensorboard"), lambda: None):
        before()  # a kill before it was written, or after
        fit(make_model(data), data, recipe, tmp_path, progress=False, tensorboard=True)
        events = EventAccumulator(str(tmp_path / "tensorboard"))
        events.Reload()
        assert [event.step for event in events.Scalars("train_loss")] == [1, 2]
        assert [event.value for event in events.Scalars("train_loss")] == values
    shutil.rmtree(tmp_path / "tensorboard")
    (tmp_path / "tensorboard").write_text("a file")
    with pytest.raises(CamwallError, match=r"cannot write .*tensorboard"):
        fit(make_model(data), data, recipe, tmp_path, progress=False, tensorboard=True)
    with pytest.raises(CamwallError, match="needs a folder"):
        fit(make_model(data), data, recipe, progress=False, tensorboard=True)


def test_progress_shows_loss_accuracy_rate_and_time_left(capsys):
    """The line on stderr names the epoch, the loss, top-1, images per second and what is left."""
    data = make_data()
    fit(make_model(data), data, replace(RECIPE, epochs=1))
    shown = capsys.readouterr().err
    for part in ("epoch=1", "loss=", "top1=", "image/s", "<"):
        assert part in shown


def test_the_notebook_refuses_a_misspelt_parameter(tmp_path):
    """`-p epoch 90` stops before any training and names the parameter that was meant."""
    with pytest.raises(papermill.PapermillExecutionError, match="did you mean 'epochs'"):
        papermill.execute_notebook(
            ROOT / "notebooks" / "train.ipynb",
            tmp_path / "out.ipynb",
            parameters={"epoch": 90, "out": str(tmp_path / "run")},
            progress_bar=False,
        )
    assert not (tmp_path / "run").exists()
