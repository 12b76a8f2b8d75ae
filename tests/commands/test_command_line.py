"""The command line: networks, methods and walls of one's own, and mistakes in one line."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from camwall import commands, data
from camwall.commands import doctor
from camwall.commands.cli import main
from camwall.data import sources
from camwall.errors import CamwallError
from camwall.models.library import load_network
from tests.helpers.checks import image_files
from tests.helpers.repository import ROOT

#: A module that a user has in the folder where they are.
MINE = """
import time
import torch
from torch import nn
import camwall

def network():
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    prepared = camwall.Preprocessing((0.5,) * 3, (0.5,) * 3, resize=None, crop=16)
    return nn.Sequential(features, head), prepared

def walled():
    made, prepared = network()
    return camwall.build_wall(made, 8, "0", preprocessing=prepared)

def brightness(model, images, target):
    return images.square().mean(dim=1)

def visible(model, images, target):
    return images.square().mean(dim=1) * ~model.wall.hidden

method = visible

def small(model, images, target):
    return images.mean(dim=1)[:, :8]

def undefined(model, images, target):
    return images.mean(dim=1) / 0 * 0

def fails(model, images, target):
    return images.nothing_of_that_name

def slow(model, images, target):
    time.sleep(0.5)
    return visible(model, images, target)

def average(evidence, maps):
    return maps.shown.mean(dim=(1, 2))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the module ``mine`` and five images, where the user is."""
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    image_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("warnings.showwarning", None, raising=False)
    return tmp_path


@pytest.fixture
def camwall_(monkeypatch, capsys):
    """Run a command line in this process: its exit status, stdout and stderr."""

    def run(line: str):
        monkeypatch.setattr(sys, "argv", ["camwall", *line.split()])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return run


def test_a_network_and_a_method_of_ones_own(here, camwall_):
    """A verdict on each method, and nothing written."""
    methods = "GradCAM,mine:brightness,mine:visible"
    asked = f"--layer 0 --methods {methods} --metrics leak,response,mine:average"
    before = sorted(here.rglob("*.*"))
    status, out, said = camwall_(f"check mine:network images --wall 8 {asked}")
    assert status == 0, said
    verdicts = {line.split()[0]: line for line in out.splitlines()[1:4]}
    assert "sees through" in verdicts["GradCAM"]
    assert "one signed weight a channel" in verdicts["GradCAM"]
    assert "sees through" in verdicts["brightness"]
    assert "blind" in verdicts["visible"]
    assert "hidden: rows 8–15 of 16×16" in out
    assert [path for path in sorted(here.rglob("*.*")) if "__pycache__" not in str(path)] == before


def test_the_wall_of_a_text_is_the_one_that_is_measured(here, camwall_):
    """Of a walled model of one's own its own; of a network what is written, also as a picture."""
    pixels = np.zeros((16, 16), np.uint8)
    pixels[:, :8] = 255
    Image.fromarray(pixels).save(here / "left.png")
    for wall, hidden in (("columns:8:left", "columns 0–7"), ("left.png", "columns 0–7")):
        status, out, _ = camwall_(f"certify mine:network --wall {wall}")
        assert (status, hidden in out) == (0, True), out
    status, out, _ = camwall_("certify mine:walled")
    assert (status, "rows 8–15" in out) == (0, True)
    status, out, _ = camwall_("certify mine:network")  # 5/7 of 16 rows
    assert (status, "rows 11–15" in out) == (0, True)


def test_a_network_of_torch_hub(here, camwall_):
    """By a folder with a hubconf.py, as by a repository's name."""
    conf = "from mine import network as made\ndef tiny(pretrained): return made()[0]\n"
    (here / "hubconf.py").write_text(f"import sys; sys.path.insert(0, '.')\n{conf}")
    status, _, said = camwall_("certify hub:.:tiny")
    assert (status, "how images are prepared for a Sequential is not known" in said) == (2, True)


MISTAKES = {
    "check nowhere:network images": "nowhere:network cannot be imported (No module named",
    "check mine:nothing images": "has no attribute 'nothing'",
    "check mine:brightness images": "mine:brightness fails in",
    "check resnet5 images": "the nearest of which are resnet50, ",
    "check none.pt images": "no checkpoint at none.pt",
    "check mine:walled images --wall 4": "mine:walled has its wall: leave wall",
    "check mine:network nowhere": "no folder nowhere",
    "check mine:network .": "no images in .",
    "check mine:network images --layer 7": "no layer '7'",
    "check mine:network images --wall fence": "'fence' is no wall: write its first hidden row",
    "check mine:network images --wall 16": "the wall row must lie within the image, 1 to 15",
    "check mine:network images --wall columns:8:up": "'columns:8:up' is no wall",
    "check mine:network images --device abacus": "no device 'abacus'",
    "check mine:network images --methods Grad": "unknown method 'Grad'",
    "check mine:network images --methods mine:small": "small gave maps of shape [1, 8, 16]; a",
    "check mine:network images --methods mine:undefined": "holds NaN or infinite values",
    "check mine:network images --methods mine:fails": "mine:fails fails in",
    "check mine:network images --metrics sharpness": "unknown metric 'sharpness'",
    "check mine:network images --out images": "images holds other files",
    "check mine:network images --construction none": "known: whole, apart",
    "check mine:network images --engine none": "unknown engine 'none'",
    "check --out": "Option '--out' requires an argument",
    "check mine:network images more": "unexpected extra argument",
    "chek": "No such command 'chek'",
    "stacks mix": "Missing argument 'source'",
    "stacks mix nowhere made": "no folder nowhere",
    "stacks gen images made --n 3": "the builder gen takes no n",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(here, camwall_, line):
    """That says what was wrong; nothing is written."""
    status, out, said = camwall_(line)
    lines = [each for each in said.replace("\r", "\n").splitlines() if each.startswith("camwall: ")]
    assert status == 2, said
    assert out == ""
    assert len(lines) == 1
    assert said.rstrip().endswith(lines[0])
    assert MISTAKES[line] in lines[0]
    assert not list(here.rglob("*.csv"))


def test_stacks_are_built_from_a_folder(here, camwall_):
    """What is read comes first, then what is written; the same command again finds it there."""
    for _ in range(2):
        status, out, said = camwall_("stacks gen images made")
        assert (status, out) == (0, "5 stacks in made\n"), said
    status, out, _ = camwall_("stacks --help")
    assert status == 0
    assert all(name in out for name in ("open", "mix", "gen"))


def test_the_commands_of_the_readme_run(here, camwall_, monkeypatch):
    """Each as it stands there, with one stack where it names no images."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^camwall [^#\n]*", readme, re.M)
    assert {"check", "certify", "methods", "doctor"} <= {line.split()[1] for line in lines}
    (here / "images").rename(here / "photos")
    monkeypatch.setattr("camwall.commands.check.DEFAULT_LIMIT", 1)
    for line in lines:
        given = line.removeprefix("camwall ").strip()
        if given == "check" and None in data.fetch(["stamps"]).values():
            continue
        wall = {"columns:112:right": "columns:8:right", "border:40": "border:4"}
        for large, small in wall.items():  # of 16 pixels
            given = given.replace(large, small)
        status, out, said = camwall_(given)
        assert status == 0, said
        assert out
    assert (here / "runs" / "mine" / "table.csv").is_file()


def test_a_missing_extra_is_one_line(here, camwall_, monkeypatch):
    """That says what to install."""
    monkeypatch.delitem(sys.modules, "camwall.methods.adapters.grad_cam", raising=False)
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    status, _, said = camwall_("check mine:network images --methods FEM")
    assert (status, "pip install 'camwall[grad-cam]'" in said) == (2, True)


def command(line: str, folder: Path) -> subprocess.Popen:
    """The command line as a process of its own, as a user starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "camwall", *line.split()],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A background job of a shell ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_ctrl_c_says_how_to_go_on_and_the_next_call_does(here):
    """Records that were finished before are kept as they were."""
    line = "check mine:network images --methods mine:slow --out run"
    process = command(line, here)
    records = here / "run" / "records" / "records-0000.jsonl"
    end = time.monotonic() + 120
    while not (records.is_file() and records.read_bytes().count(b"\n")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.rstrip().endswith(
        "camwall: stopped; what is finished is in run, and the same command goes on from there"
    )
    assert "Traceback" not in said
    first = records.read_bytes().splitlines()[0]
    process = command(line, here)
    out, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "slow" in out
    assert records.read_bytes().splitlines()[0] == first
    assert len(pd.read_csv(here / "run" / "table.csv")) == 1
    given = json.loads((here / "run" / "manifest.json").read_text())
    assert given["command"] == f"camwall {line}"
    assert "proved by construction" in given["certificate"]


def test_ctrl_c_is_one_line_while_a_command_is_loaded(monkeypatch, capsys):
    """Which takes as long as it takes to press the keys."""

    class Pressed:
        def __getattr__(self, name):
            raise KeyboardInterrupt

    monkeypatch.setattr(commands, "cli", Pressed())
    with pytest.raises(SystemExit, match="130"):
        importlib.import_module("camwall.__main__").main()
    assert capsys.readouterr().err == "camwall: stopped before anything was begun\n"


def test_the_hub_is_asked_once_where_it_cannot_be_reached(monkeypatch):
    """Its package would try for minutes; what is in its cache is had all the same."""
    hub = pytest.importorskip("huggingface_hub")
    transformers = pytest.importorskip("transformers")
    asked = []

    def offline(*given, **more):
        asked.append(given)
        raise OSError("there is no network here")

    def from_pretrained(name):
        assert hub.is_offline_mode()
        raise OSError("not in the cache")

    before = hub.is_offline_mode()
    monkeypatch.setattr("socket.getaddrinfo", offline)
    monkeypatch.setattr("socket.create_connection", offline)
    monkeypatch.setattr(transformers.AutoImageProcessor, "from_pretrained", from_pretrained)
    with pytest.raises(CamwallError, match=r"weights of hf:a/b cannot be had .not in the cache"):
        load_network("hf:a/b")
    assert len(asked) < 3
    assert hub.is_offline_mode() == before


def test_mistakes_end_a_real_process_with_2(here):
    """Without a traceback: a command's own, and typer's."""
    for line, message in (
        ("certify mine:network --wall 0", "must lie within the image"),
        ("check --wal 3", "No such option: --wal"),
    ):
        process = command(line, here)
        out, said = process.communicate(timeout=120)
        assert (process.returncode, out, len(said.splitlines())) == (2, "", 1), said
        assert message in said


def test_the_doctor_finds_what_is_wrong(tmp_path, camwall_, monkeypatch):
    """A package outside its range, and a file with other contents; else status 0."""
    monkeypatch.setenv("CAMWALL_CACHE", str(tmp_path))
    status, out, _ = camwall_("doctor")
    assert status == 0, out
    assert f"torch {torch.__version__.partition('+')[0]}" in " ".join(out.split())
    assert "stamps not there: camwall fetch stamps" in " ".join(out.split())
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    for name in sources.SOURCES["fashion-mnist"].checksums():
        (folder / name).write_bytes(b"other")
    status, out, said = camwall_("doctor")
    assert (status, "has other contents than expected" in out) == (1, True)
    assert "1 of these are no good" in said
    (folder / name).unlink()
    monkeypatch.setattr(doctor, "version", lambda name: "0.0.1")
    status, out, _ = camwall_("doctor")
    assert (status, "outside the versions that fit" in out) == (1, True)


def test_the_methods_are_listed_with_what_they_need(camwall_):
    """One line each."""
    status, out, _ = camwall_("methods")
    assert status == 0
    (line,) = [line for line in out.splitlines() if line.startswith("HiResCAM ")]
    assert line.split()[1] == "no"
