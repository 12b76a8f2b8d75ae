"""What a run keeps belongs to it, and is what it wrote: another network, another version, rot."""

import os
import subprocess
import sys
import time
from argparse import Namespace
from dataclasses import dataclass
from enum import Enum
from functools import partial, reduce
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import camwall
from camwall.check import store
from camwall.config import quick
from camwall.errors import CamwallError
from camwall.identity import model_digest
from camwall.models import Preprocessing
from tests.helpers.checks import SIZE, quiet, some_images


class Calls(nn.Module):
    """What a network calls and holds without saying so in its repr."""

    def __init__(self, function, slope=1.0):
        super().__init__()
        self.function, self.slope = function, slope

    def forward(self, maps):
        return self.function(self.slope * maps)


def network(pool=nn.MaxPool2d, act=nn.ReLU, last=nn.Identity):
    """Networks of one set of weights."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), act(), pool(2), last())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    way = Preprocessing((0.5,) * 3, (0.5,) * 3, None, SIZE)
    return camwall.build_wall(nn.Sequential(trunk, head), 8, trunk, preprocessing=way)


OTHERS = {
    "average pooling": partial(network, pool=nn.AvgPool2d),
    "another activation": partial(network, act=nn.GELU),
    "another slope": partial(network, act=partial(nn.LeakyReLU, 0.2)),
    "a layer that does nothing here": partial(network, last=nn.ReLU),
    "another function": partial(network, act=partial(Calls, torch.sigmoid)),
    "another number within": partial(network, act=partial(Calls, torch.relu, 2.0)),
    "another function without a name": partial(network, act=partial(Calls, lambda x: x.abs())),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_run_knows_its_network(name, tmp_path):
    """Weights alone would not tell."""
    first = network(act=partial(Calls, lambda x: x)) if "without a name" in name else network()
    for model in (first, OTHERS[name]()):
        quiet(model, some_images(), ["GradCAM"], run=tmp_path / str(model is first))
    with pytest.raises(CamwallError, match=r"holds another run \(another (model|scores)"):
        quiet(OTHERS[name](), some_images(), ["GradCAM"], run=tmp_path / "True")


class Given(nn.Module):
    def __init__(self, held):
        super().__init__()
        self.held = held


def buffered(value):
    module = nn.Module()
    module.register_buffer("held", torch.tensor(value), persistent=False)
    return module


def hooked(module, forward):
    module.register_forward_hook(forward)
    return module


def running(value):
    return type("Running", (nn.Module,), {"forward": lambda self, images: value * images})()


def filled(module, value):
    nn.init.constant_(module.weight, value)
    return module


class Act(Enum):
    """Without a word of what it holds, whose repr has an address."""

    RELU = (partial(torch.relu),)
    ABS = (partial(torch.abs),)


@dataclass(slots=True)
class Slots:
    gain: float


HOLDS = {
    "a tensor": lambda value: Given(torch.tensor(value)),
    "an array": lambda value: Given([np.float32(value)]),
    "an array read backwards": lambda value: Given(np.array([value, 2.0])[::-1]),
    "a word for it": lambda value: Given({"gain": value}),
    "an object": lambda value: Given(SimpleNamespace(gain={value})),
    "part of a function": lambda value: Given(partial(torch.mul, other=value)),
    "a function around it": lambda value: Given(lambda images: value * images),
    "a module that it does not register": lambda value: Given(
        [filled(nn.Linear(2, 2, False), value)]
    ),
    "parsed arguments": lambda value: Given(Namespace(gain=value)),
    "slots": lambda value: Given([Slots(value)]),
    "a member": lambda value: Given(Act.RELU if value == 1 else Act.ABS),
    "a buffer that is not kept": buffered,
    "a forward around it": running,
    "the code of a function": lambda value: Given(
        (lambda images: 2 * images) if value == 1 else (lambda images: 3 * images)
    ),
    "the code of a hook": lambda value: hooked(
        nn.ReLU(), (lambda *given: 2 * given[2]) if value == 1 else (lambda *given: 3 * given[2])
    ),
}


@pytest.mark.parametrize("name", HOLDS)
def test_what_a_network_holds_and_runs_is_its_own(name):
    """Also where it moves a score by less than devices do."""
    first, again, other = (model_digest(nn.Sequential(HOLDS[name](v))) for v in (1.0, 1.0, 1.001))
    assert first == again
    assert first != other


class Leaving(nn.Module):
    """What passes leave on it, and words in no order."""

    def __init__(self):
        super().__init__()
        self.words, self.acts = {*"abcdefgh"}, {Act.RELU, Act.ABS}
        self.grids, self.device, self.calls = {}, torch.device("cpu"), 0

    def forward(self, maps):
        self.grids[tuple(maps.shape), str(maps.device)] = torch.ones(maps.shape)
        self.activations = maps.detach()
        self.calls += 1
        return maps


def walled(module):
    way = Preprocessing((0.5,) * 3, (0.5,) * 3, None, SIZE)
    return camwall.build_wall(module, 8, module[0], preprocessing=way)


def leaving():
    torch.manual_seed(0)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)]
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), Leaving(), *head)


def test_a_network_is_the_same_after_passes_and_in_each_process():
    """Not by addresses, the order of a set, a device, or what a pass leaves."""
    network = leaving()
    model = walled(network)
    first = model_digest(model)
    camwall.certify(model)
    network(some_images())
    network[1].device = torch.device("meta")
    assert model_digest(model) == model_digest(walled(network)) == first
    code = f"from {__name__} import *; print(model_digest(walled(leaving())))"
    for seed in "12":
        found = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        )
        assert found.stdout.strip() == str(first)


def test_of_a_package_the_version_is_told_not_the_code():
    """Byte code is another in another Python."""
    both = [lambda maps: 2 * maps, lambda maps: 3 * maps]
    for each in both:
        each.__code__ = each.__code__.replace(co_filename="/lib/site-packages/package.py")
    first, other = (model_digest(nn.Sequential(Given(each))) for each in both)
    assert first == other


def in_each_other():
    one, other = (type("Plain", (), {})() for _ in range(2))
    one.held, other.held = {other}, {one}
    return one


AWKWARD = {
    "held by each other": in_each_other,
    "a chain": lambda: reduce(lambda held, _: SimpleNamespace(held=held), range(2000), 1),
    "a conjugate": lambda: torch.ones(3, dtype=torch.complex64).conj(),
    "a million pairs": lambda: SimpleNamespace(pairs=[(str(i), i) for i in range(10**6)]),
    "more than memory": lambda: torch.ones(1).expand(10**12),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_whatever_a_network_holds_it_is_told(name):
    """In a time that does not grow."""
    model = nn.Sequential(Given(AWKWARD[name]()))
    start = time.process_time()
    assert model_digest(model) == model_digest(model)
    assert time.process_time() - start < 2


def test_a_run_goes_on_with_scores_that_rounded_otherwise(tmp_path, monkeypatch):
    """As on another device; not by another version of camwall."""
    before = quiet(network(), some_images(), ["GradCAM"], run=tmp_path)
    claim = store.claim
    monkeypatch.setattr(
        store,
        "claim",
        lambda *given, close: claim(*given, close={"scores": [1.001 * s for s in close["scores"]]}),
    )
    assert quiet(network(), some_images(), ["GradCAM"], run=tmp_path).records.equals(before.records)
    monkeypatch.setattr(store, "versions", lambda: {"camwall": "99"})
    with pytest.raises(CamwallError, match=r'holds another run .camwall ".*", not "99"'):
        quiet(network(), some_images(), ["GradCAM"], run=tmp_path)


def test_a_flipped_bit_in_the_records_is_found(tmp_path, record_property):
    """Of each flip a line tells, or the record is computed again; none reaches a table."""
    model, images = network(), some_images(3)
    whole = quiet(model, images, ["GradCAM", "HiResCAM"], run=tmp_path).records
    file = tmp_path / "records-0000.jsonl"
    content, rng, found = file.read_bytes(), Random(0), 0
    count = 40 if quick() else 300
    for _ in range(count):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        try:
            again = quiet(model, images, ["GradCAM", "HiResCAM"], run=tmp_path).records
        except CamwallError:
            found += 1
        else:
            assert again.drop(columns="seconds").equals(whole.drop(columns="seconds"))
    assert found > 0.9 * count
    record_property("flipped bits in records", count)
