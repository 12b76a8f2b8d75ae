"""Nothing is lost: kills, full disks, bad losses and bad images."""

import copy
import errno
import math
import random
import resource
import signal
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from camwall.commands.train import train_study
from camwall.errors import CamwallError
from camwall.train import Recipe, fit
from camwall.train.sources import ArraySource, FolderSource
from camwall.train.trainer import Trainer
from tests.helpers.training import RECIPE, make_data, make_model, process, train_noise


def weights(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "model.pt", weights_only=True)["state_dict"]


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


class Killed(BaseException):
    """Stands for a kill inside one process: nothing may catch it."""


@pytest.mark.parametrize("step", [1, 4, 6, 9, 17])
def test_a_run_cut_off_at_any_step_ends_with_the_same_weights(tmp_path, monkeypatch, step):
    """Cut before the given step (in mid-epoch, at its end, in later epochs) and started again,
    with checkpoints every 2 steps: weights and metrics are those of the whole run, bit for bit."""
    data = make_data(96)
    whole = fit(make_model(data), data, RECIPE, tmp_path / "whole", progress=False)

    original, count = Trainer.optimise, [0]

    def cut(self, batches):
        count[0] += 1
        if count[0] == step + 1:
            raise Killed
        original(self, batches)

    monkeypatch.setattr(Trainer, "optimise", cut)
    with pytest.raises(Killed):
        fit(make_model(data), data, RECIPE, tmp_path / "cut", save_every=2, progress=False)
    monkeypatch.setattr(Trainer, "optimise", original)
    torch.manual_seed(99)  # what the global generator holds must not matter
    again = fit(make_model(data), data, RECIPE, tmp_path / "cut", save_every=2, progress=False)
    assert_same(weights(tmp_path / "cut"), weights(tmp_path / "whole"))
    columns = [c for c in whole.history if c != "images_per_second"]
    pd.testing.assert_frame_equal(again.history[columns], whole.history[columns])


SHORT = replace(RECIPE, epochs=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The checkpoint of a run of one epoch."""
    folder = tmp_path_factory.mktemp("trained")
    train_noise(folder, SHORT)
    return torch.load(folder / "last.pt", weights_only=True)


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
@pytest.mark.parametrize(
    ("name", "odd"),
    [
        *((name, 3) for name in ("model", "optimiser", "schedule", "random", "sums", "history")),
        *(("epoch", odd) for odd in ("x", None, True, 2)),
        *(("step", odd) for odd in (-1, 10**9, math.nan)),
        *(("optimiser", {"state": {}, "param_groups": []}), ("random", [3]), ("history", [{}])),
        *(("model", {}), ("sums", torch.ones(2)), ("schedule", {"last_epoch": 1})),
    ],
    ids=str,
)
def test_a_checkpoint_with_a_part_made_otherwise_is_refused(name, odd, tmp_path, trained):
    """In one line that says what to do, before anything is trained."""
    torch.save(trained | {name: odd}, tmp_path / "last.pt")
    with pytest.raises(CamwallError, match=r"last\.pt .*: delete it, and training starts again"):
        train_noise(tmp_path, SHORT)


def test_a_checkpoint_of_another_torch_is_taken_up(tmp_path, trained):
    """Names that one of them alone has, and whole numbers for others."""
    state = copy.deepcopy(trained)
    del state["schedule"]["_is_initial"]
    (group,) = state["optimiser"]["param_groups"]
    del group["fused"]
    group |= {"new": False, "weight_decay": 0}
    state["schedule"] |= {"verbose": False, "base_lrs": [1]}
    torch.save(state, tmp_path / "last.pt")
    train_noise(tmp_path, SHORT)


def test_a_process_killed_at_random_points_ends_with_the_same_weights(tmp_path):
    """SIGKILL at random moments, with a checkpoint every step, then left alone: the weights are
    those of a run that was never killed, bit for bit, and no temporary file is left."""
    recipe = replace(RECIPE, epochs=10, lr_step=3)
    whole = process(train_noise, tmp_path / "whole", recipe)
    rng, kills, out = random.Random(0), 0, tmp_path / "killed"
    for _ in range(4):
        run = process(train_noise, out, recipe)
        seen = (out / "last.pt").stat().st_mtime_ns if (out / "last.pt").exists() else 0
        deadline = time.monotonic() + 60
        while run.is_alive() and time.monotonic() < deadline:
            if (out / "last.pt").exists() and (out / "last.pt").stat().st_mtime_ns > seen:
                time.sleep(rng.uniform(0, 0.1))  # some way into the steps after a checkpoint
                run.kill()
                break
            time.sleep(0.001)
        run.join(60)
        kills += run.exitcode == -signal.SIGKILL
    assert kills >= 3
    for run in (whole, process(train_noise, out, recipe)):
        run.join(120)
        assert run.exitcode == 0
    assert_same(weights(out), weights(tmp_path / "whole"))
    assert sorted(p.name for p in out.iterdir()) == ["last.pt", "metrics.csv", "model.pt"]


def test_a_finished_run_is_loaded_not_repeated(tmp_path, monkeypatch):
    """The same command after the end gives the same weights without a step, also where a layer is
    frozen and a measure gives a number in some epochs alone."""
    data, told = make_data(), iter([{}, {"mine": 0.5}, {}])
    models = [make_model(data, seed=seed) for seed in (0, 5)]
    for model in models:
        model.features[0].requires_grad_(False)
    first = fit(models[0], data, RECIPE, tmp_path, measure=lambda model: next(told), progress=False)
    monkeypatch.setattr(Trainer, "optimise", None)
    again = fit(models[1], data, RECIPE, tmp_path, progress=False)
    assert_same(first.model.state_dict(), again.model.state_dict())
    assert again.history["mine"].notna().tolist() == [False, True, False]


def test_a_second_process_is_kept_out_of_a_run(tmp_path):
    """It says so in one line, and touches nothing that the first is writing."""
    data, begun = make_data(), replace(RECIPE, epochs=1)
    half = tmp_path / ".unfinished.last.x.pt"

    def second(model):
        half.write_text("what the first is writing")
        with pytest.raises(CamwallError, match="another process is at work in"):
            fit(make_model(data), data, begun, tmp_path, progress=False)
        assert half.exists()
        return {}

    fit(make_model(data), data, begun, tmp_path, measure=second, progress=False)
    fit(make_model(data), data, begun, tmp_path, progress=False)
    assert not half.exists()


def test_a_network_that_no_checkpoint_describes_is_refused_at_the_start(tmp_path, monkeypatch):
    """Where there is a folder to write one to; and so is a head that does not end in scores."""
    data = make_data()
    monkeypatch.setattr(Trainer, "optimise", None)
    model = make_model(data)
    model.made_by = None
    with pytest.raises(CamwallError, match="have a checkpoint that says what they are"):
        fit(model, data, RECIPE, tmp_path, progress=False)
    model.head.append(torch.nn.Softmax(1))
    with pytest.raises(CamwallError, match="the network's head ends in Softmax"):
        fit(model, data, RECIPE, progress=False)


def test_another_recipe_in_the_same_folder_is_refused(tmp_path):
    """A folder holds one run; the message names what differs."""
    data = make_data()
    fit(make_model(data), data, replace(RECIPE, epochs=1), tmp_path, progress=False)
    with pytest.raises(CamwallError, match=r"another run \(recipe.lr 0.03, not 0.01\)"):
        fit(make_model(data), data, replace(RECIPE, epochs=1, lr=0.01), tmp_path, progress=False)
    with pytest.raises(CamwallError, match=r"network.masked [Tt]rue, not [Ff]alse"):
        fit(make_model(data, False), data, replace(RECIPE, epochs=1), tmp_path, progress=False)


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    """A write that fails half-way gives one line; the checkpoint before it is whole, and with room
    again the run ends with the weights of a run that was left alone."""
    data = make_data()
    whole = fit(make_model(data), data, RECIPE, progress=False)
    original, count = torch.save, [0]

    def full(content, file):
        count[0] += 1
        if count[0] > 3:
            file.write(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        original(content, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CamwallError, match=r"No space left.*make room") as caught:
        fit(make_model(data), data, RECIPE, tmp_path, save_every=2, progress=False)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(torch, "save", original)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["epoch"] == 1
    assert not list(tmp_path.glob(".last*"))
    again = fit(make_model(data), data, RECIPE, tmp_path, save_every=2, progress=False)
    assert_same(again.model.state_dict(), whole.model.state_dict())


def train_with_small_files(out: Path, message: Path) -> None:
    """Train where no file may grow beyond 100 kB, and write down what the user is told."""
    message.touch()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        train_noise(out)
    except CamwallError as error:
        message.write_text(str(error))


def test_a_file_size_limit_is_reported_in_one_line(tmp_path):
    """The operating system's own refusal (RLIMIT_FSIZE) ends in our line, not in a traceback."""
    run = process(train_with_small_files, tmp_path / "out", tmp_path / "message")
    run.join(60)
    told = (tmp_path / "message").read_text()
    assert "cannot write" in told
    assert "\n" not in told
    assert not list((tmp_path / "out").iterdir())


def test_a_loss_that_is_not_finite_stops_before_the_checkpoint(tmp_path):
    """A learning rate that blows up gives one line; what is saved is finite."""
    data = make_data()
    recipe = replace(RECIPE, epochs=1)
    fit(make_model(data), data, recipe, tmp_path / "good", progress=False)
    wild = replace(RECIPE, lr=1e30, epochs=5)
    with pytest.raises(CamwallError, match=r"loss is not finite in epoch 1.*learning rate") as bad:
        fit(make_model(data), data, wild, tmp_path / "bad", save_every=1, progress=False)
    assert "\n" not in str(bad.value)
    assert not (tmp_path / "bad" / "last.pt").exists(), (
        "the first step's weights were good for none"
    )


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("save_every", [1, 1000])
def test_a_network_that_diverges_keeps_the_last_good_checkpoint(
    tmp_path, monkeypatch, masked, save_every
):
    """Its last step, in an epoch's middle or at its end, has finite losses before it and none
    after it: what lies there, before and after, is the checkpoint of the first epoch."""
    data = make_data()
    steps = len(data.train) // RECIPE.batch
    original, count = Trainer.optimise, [0]

    def diverge(self, batches):
        original(self, batches)
        count[0] += 1
        if count[0] == 2 * steps:  # the last step of the second epoch
            with torch.no_grad():
                for weights in self.part.parameters():
                    weights.mul_(1e30)

    monkeypatch.setattr(Trainer, "optimise", diverge)
    with pytest.raises(CamwallError, match="loss is not finite in epoch 2, by step") as bad:
        fit(make_model(data, masked), data, RECIPE, tmp_path, save_every=save_every, progress=False)
    assert "keeps the last good checkpoint" in str(bad.value)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert (state["epoch"], state["step"]) == (1, 0 if save_every > 1 else steps - 1)
    assert all(torch.isfinite(w).all() and w.abs().max() < 1e6 for w in state["model"].values())
    assert len(pd.read_csv(tmp_path / "metrics.csv")) == 1
    monkeypatch.setattr(Trainer, "optimise", original)
    again = fit(
        make_model(data, masked), data, RECIPE, tmp_path, save_every=save_every, progress=False
    )
    assert len(again.history) == RECIPE.epochs


def test_a_weight_that_is_not_finite_is_found_behind_a_finite_loss(tmp_path, monkeypatch):
    """A bias of −∞ before a ReLU shows in no loss; no checkpoint has it."""
    data = make_data()
    original = Trainer.optimise

    def silence(self, batches):
        original(self, batches)
        with torch.no_grad():
            next(p for name, p in self.part.named_parameters() if name.endswith("bias"))[
                0
            ] = -torch.inf

    monkeypatch.setattr(Trainer, "optimise", silence)
    with pytest.raises(CamwallError, match="loss is not finite in epoch 1"):
        fit(make_model(data), data, RECIPE, tmp_path, progress=False)
    assert not (tmp_path / "last.pt").exists()


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    """It is not overwritten, and the line says so."""
    data = make_data()
    for content in ({"epoch": 3}, {"identity": {"recipe": {}}}, {"identity": "x"}, [1, 2]):
        torch.save(content, tmp_path / "last.pt")
        with pytest.raises(CamwallError, match=r"last.pt is not of camwall's training"):
            fit(make_model(data), data, RECIPE, tmp_path, progress=False)
        assert torch.load(tmp_path / "last.pt") == content
    (tmp_path / "last.pt").write_bytes(b"rot")
    with pytest.raises(CamwallError, match=r"last.pt .*damaged.* delete it, and training starts"):
        fit(make_model(data), data, RECIPE, tmp_path, progress=False)


def test_metrics_that_a_kill_cut_off_are_written_again(tmp_path):
    """Between the last checkpoint and its metrics a run can die; the same command mends it."""
    data = make_data()
    whole = fit(make_model(data), data, RECIPE, tmp_path, progress=False)
    (tmp_path / "metrics.csv").unlink()
    (tmp_path / "model.pt").unlink()
    fit(make_model(data), data, RECIPE, tmp_path, progress=False)
    assert list(pd.read_csv(tmp_path / "metrics.csv")["epoch"]) == list(whole.history["epoch"])


def test_an_output_that_is_a_file_and_negative_workers_cost_one_line(tmp_path):
    """What cannot be is said in one line, before anything is trained."""
    data = make_data()
    (tmp_path / "file").write_text("")
    with pytest.raises(CamwallError, match=r"cannot write .*file"):
        fit(make_model(data), data, RECIPE, tmp_path / "file", progress=False)
    with pytest.raises(CamwallError, match="workers must be a whole number of at least 0, not -1"):
        fit(make_model(data), data, RECIPE, workers=-1, progress=False)


def make_folder(root: Path, size: int = 40) -> Path:
    """Two classes of four images each, for training and for validation."""
    for part in ("train", "val"):
        for label, name in enumerate(("cat", "dog")):
            (root / part / name).mkdir(parents=True)
            for i in range(4):
                image = Image.new("RGB", (size + i, size), (200 * label, 40 * i, 90))
                image.save(root / part / name / f"{i}.jpg")
    return root


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_image_is_named_in_one_line(tmp_path, workers):
    """Read in this process or in workers, the message is one line with the file's name."""
    folder = make_folder(tmp_path)
    bad = folder / "train" / "dog" / "2.jpg"
    bad.write_bytes(bad.read_bytes()[:300])
    with pytest.raises(CamwallError, match=r"dog/2.jpg is not an image") as caught:
        train_study("folder", data=str(folder), small=True, batch=4, epochs=1, stacks=0,
                    workers=workers, progress=False)  # fmt: skip
    assert "\n" not in str(caught.value)


def test_missing_class_folders_are_named(tmp_path):
    """A class without a folder, without images, or unknown to the training set; no classes."""
    folder = make_folder(tmp_path / "a")
    classes = FolderSource(folder / "train").classes
    (folder / "val" / "dog").rename(folder / "val" / "dingo")
    with pytest.raises(CamwallError, match="no folder for class 'dog'"):
        FolderSource(folder / "val", classes)
    (folder / "val" / "dog").mkdir()
    with pytest.raises(CamwallError, match="no class of the training set: 'dingo'"):
        FolderSource(folder / "val", classes)
    with pytest.raises(CamwallError, match="dog has no images"):
        FolderSource(folder / "val")
    with pytest.raises(CamwallError, match="no class folders"):
        FolderSource(folder / "train" / "cat")
    with pytest.raises(CamwallError, match="no folder"):
        FolderSource(folder / "nothing")


def test_bad_recipes_and_data_are_refused():
    """Values that cannot be, a batch too large, data of other classes: one line each."""
    data = make_data(32)
    for change in (
        {"epochs": 0},
        {"batch": 0},
        {"lr": 0.0},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
        {"lr_step": 0},
        {"lr_gamma": 0.0},
        {"dropout": 1.0},
        {"crop_area": (0.5, 0.1)},
        {"crop_aspect": (0.0, 1.0)},
        {"precision": "fp64"},
        {"micro_batch": 0},
        {"epochs": 2.0},
        {"batch": "16"},
        {"lr": True},
        {"flip": 1},
        {"precision": None},
        {"micro_batch": 1.5},
        {"crop_area": 0.5},
        {"crop_area": (0.1,)},
        {"crop_aspect": ("a", "b")},
        {"crop_aspect": (0.8, float("inf"))},
        {"lr": float("nan")},
        {"weight_decay": float("inf")},
        {"seed": -1},
        {"seed": 2**63},
    ):
        with pytest.raises(CamwallError, match=next(iter(change))):
            Recipe(**change)
    with pytest.raises(CamwallError, match="batch of 64"):
        fit(make_model(data), data, Recipe(epochs=1, batch=64), progress=False)
    with pytest.raises(CamwallError, match="4 classes, the data 3"):
        fit(make_model(data), make_data(33, classes=3), Recipe(batch=8), progress=False)
    with pytest.raises(CamwallError, match="fp16 needs a GPU"):
        fit(make_model(data), data, Recipe(batch=8, precision="fp16"), progress=False)
    with pytest.raises(CamwallError, match="uint8"):
        ArraySource(torch.zeros(2, 1, 28, 28), torch.zeros(2))
    with pytest.raises(CamwallError, match="no study 'mnist'"):
        train_study("mnist")
    with pytest.raises(CamwallError, match="no 'learning_rate'"):
        train_study("digits", learning_rate=1)
    with pytest.raises(CamwallError, match="reads no folder"):
        train_study("digits", data="somewhere")
    with pytest.raises(CamwallError, match="reads a folder"):
        train_study("imagenet")
