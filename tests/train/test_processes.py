"""One process or several, one micro-batch or several, any number of workers: the same training."""

import re
import socket
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from camwall.config import quick
from camwall.errors import CamwallError
from camwall.train import Recipe, fit
from camwall.train.loading import Batches, Schedule
from tests.helpers.training import RECIPE, make_data, make_model, process, train_noise, train_one_of


def curves(history: pd.DataFrame) -> torch.Tensor:
    return torch.tensor(history[["train_loss", "test_loss", "train_top1", "test_top1"]].to_numpy())


def by_two(out: Path, recipe: Recipe) -> dict[str, torch.Tensor]:
    """The weights that two gloo processes train."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    runs = [process(train_one_of, rank, 2, port, out, recipe) for rank in range(2)]
    for run in runs:
        run.join(120)
        assert run.exitcode == 0
    return torch.load(out / "model.pt", weights_only=True)["state_dict"]


def test_two_processes_give_the_loss_curve_of_one(tmp_path, record_property):
    """Two processes that share each batch, accumulating gradients over micro-batches, go through
    the losses and end with the weights of one process, to float32 rounding; and a second time,
    in full size, with the same bytes."""
    recipe = replace(RECIPE, dropout=0.0)
    data = make_data()
    one = fit(make_model(data), data, recipe, progress=False)
    shared = replace(recipe, micro_batch=3)
    weights = by_two(tmp_path, shared)
    two = pd.read_csv(tmp_path / "metrics.csv")
    torch.testing.assert_close(curves(two), curves(one.history), rtol=0, atol=1e-4)
    assert one.history["train_loss"].iloc[-1] < 0.9 * one.history["train_loss"].iloc[0]
    for name, value in one.model.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-4)
    if not quick():
        again = by_two(tmp_path / "again", shared)
        assert all(torch.equal(again[name], value) for name, value in weights.items())
        record_property("trainings by two processes", 2)


def train_in_a_folder_of_its_own(rank, world, port, out, recipe):
    """What a host does that does not reach the others' disk; its answer in a file."""
    answer = out / f"answer-{rank}"
    answer.touch()
    try:
        train_one_of(rank, world, port, out / str(rank), recipe)
    except CamwallError as error:
        answer.write_text(str(error))


@pytest.mark.parametrize("case", ["a disk each", "a bad checkpoint for one"])
def test_what_one_process_refuses_stops_both(case, tmp_path):
    """With the same line: none waits for the other."""
    recipe = replace(RECIPE, epochs=1)
    train_noise(tmp_path / "0", recipe)
    said = "1 of 2 processes do not find the checkpoint.*give a folder that all hosts share"
    if case != "a disk each":
        said = "last.pt is none that this run has written"
        state = torch.load(tmp_path / "0" / "last.pt", weights_only=True)
        state["random"].append({"cpu": torch.zeros(3, dtype=torch.uint8)})
        torch.save(state, tmp_path / "0" / "last.pt")
        (tmp_path / "1").symlink_to("0")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = 2, port, tmp_path, recipe
    runs = [process(train_in_a_folder_of_its_own, rank, *common) for rank in range(2)]
    for rank, run in enumerate(runs):
        run.join(120)
        assert re.search(said, (tmp_path / f"answer-{rank}").read_text())


def test_accumulated_gradients_are_the_batch_gradient():
    """In float64 micro-batches of any size give the same weights as whole batches, to 1e-12."""
    data = make_data()
    recipe = replace(RECIPE, dropout=0.0, epochs=2)
    finals = [
        fit(make_model(data).double(), data, replace(recipe, micro_batch=m), progress=False).model
        for m in (None, 1, 5)
    ]
    for other in finals[1:]:
        for name, value in finals[0].state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_processes_share_each_batch(world):
    """Over all processes and micro-batches a step has its images once; an epoch has no image
    twice, and its order is another in the next."""
    shares = [Schedule(50, 12, 2, rank, world, seed=3) for rank in range(world)]
    orders = []
    for epoch in (0, 1):
        seen = []
        for share in shares:
            share.epoch = epoch
        for step in range(shares[0].steps):
            batch = []
            for share in shares:
                micro = list(share)[step * share.micro_steps : (step + 1) * share.micro_steps]
                batch += [index for keys in micro for _, index in keys]
            assert len(batch) == len(set(batch)) == 12
            seen += sorted(batch)
        assert len(set(seen)) == 48
        orders.append(seen)
    assert orders[0] != orders[1]


def test_starting_in_mid_epoch_skips_without_reading():
    """From step s on, the keys are those of the whole epoch from step s on."""
    whole, part = (Schedule(50, 8, 3, seed=0) for _ in range(2))
    part.start = 4
    assert list(part) == list(whole)[4 * whole.micro_steps :]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers):
    """The batches are the same bit for bit whether workers or this process decode."""
    data, device = make_data(32), torch.device("cpu")
    schedule = Schedule(32, 8, seed=0)
    batches = [
        list(Batches(data.train, data.preprocessing, schedule, RECIPE, device, count))
        for count in (0, workers)
    ]
    for (images, labels), (again, labels_again) in zip(*batches, strict=True):
        assert torch.equal(images, again)
        assert torch.equal(labels, labels_again)


def test_random_choices_leave_the_global_generator_alone():
    """Crops and flips come from (seed, epoch, image); dropout's generator does not move."""
    data = make_data(16)
    before = torch.get_rng_state()
    schedule = Schedule(16, 8, seed=0)
    list(Batches(data.train, data.preprocessing, schedule, RECIPE, torch.device("cpu")))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("change", [{"precision": "bf16"}, {"channels_last": True}])
def test_precision_and_memory_format_change_rounding_alone(change):
    """The loss curve is that of float32 and contiguous memory, to the rounding of the format."""
    data, recipe = make_data(), replace(RECIPE, dropout=0.0)
    plain, other = (
        fit(make_model(data), data, r, progress=False).history
        for r in (recipe, replace(recipe, **change))
    )
    limit = 0.05 if "precision" in change else 1e-4
    difference = (curves(plain) - curves(other))[:, :2].abs().max()
    assert difference < limit
    assert ("precision" in change) == bool(difference > 1e-5)
