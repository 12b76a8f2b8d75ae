"""Whatever is typed after ``camwall`` is done, or refused in one line; nothing else is written."""

import io
import os
import re
import shutil
import subprocess
import sys
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random

import pytest
import torch

from camwall.commands import cli
from tests.commands.test_command_line import MINE
from tests.helpers.checks import image_files
from tests.helpers.corpus import NO_NUMBERS, NO_PATH, some_of, tree, within
from tests.soak.test_files import Evil

MORE = """
def number(): return 3
def prompt(): return input("may I?")
def nothing_at_all(model, images, target): return None
def leaves(model, images, target): raise SystemExit(0)
"""
#: Where downloads and their libraries' settings go, which no test looks into.
KEPT = "kept"
OUT = "out"

NOWHERE = ["nowhere", "", NO_PATH, "pipe", "broken.png", "/dev/null"]
NO_FOLDER = [*NOWHERE, "text", "empty", "\udce4"]
NO_OUT = ["", "text", "text/below", NO_PATH, "/proc/nothing", "pipe", "broken.png"]
NO_NAME = ["", "x", ",", "\udce4", "../x", "None", "9" * 5000, NO_PATH]
NO_COUNT = [*NO_NUMBERS, "0", "9" * 30]
NO_STEPS = [*NO_NUMBERS, "0"]  # so many that no run ends are still so many
NO_SEED = [*NO_NUMBERS, str(2**63)]
NO_WALL = [
    *(
        "",
        "fence",
        "16",
        "0",
        "-1",
        "rows",
        "rows:",
        "rows:8:4",
        "rows:8:8",
        "rows:0:16",
        "rows:-1",
    ),
    *("rows:8.5", "rows:1e1", "rows:nan", "rows:8:9:10", "columns:8:middle", "columns:8:8", "²"),
    *(
        "columns:0:16",
        "columns:left",
        "border:0",
        "border:8",
        "border:-3",
        "border:99",
        "border:2.5",
    ),
    *(
        "border",
        "quadrant:up",
        "quadrant:left:2",
        "box",
        "box:1:2:3",
        "box:0:0:16:16",
        "box:4:4:2:2",
    ),
    *(
        "box:0:0:4:99",
        "box:-1:0:4:4",
        "box:0.5:0:4:4",
        "patches:0:0.3",
        "patches:4:2",
        "patches:4:0",
    ),
    *(
        "patches:4:nan",
        "patches:4:0.3:-1",
        "patches:4.5:0.3",
        "patches:999999:0.3",
        "patches:4:-0.5",
    ),
    *(
        "black.png",
        "large.png",
        "text",
        "images",
        "pipe",
        "broken.png",
        "9" * 5000,
        NO_PATH,
        "\udce4",
    ),
    *(
        "rows:" + "9" * 5000,
        "rows 8",
        "8,9",
        "None",
        "[8]",
        "quadrant:top:left:top:x",
        ":8",
        "rows::8",
    ),
]
#: What is a wall of larger images, which stacks are.
FITS = {"16", "rows:0:16", "columns:0:16"}
NO_WALL_OF_STACKS = [each for each in NO_WALL if each not in FITS]
NO_NETWORK = [
    *(
        "",
        "resnet5",
        "resnet18",
        "none.pt",
        "text.pt",
        "evil.pt",
        "list.pt",
        "pipe.pt",
        "images.pt",
    ),
    *(
        "timm:",
        "timm:nothing",
        "timm:../x",
        "hf:",
        "hf:nowhere/nothing",
        "hf:images",
        "hub:",
        "hub:x",
    ),
    *(
        "hub:nowhere:tiny",
        "hub:.:nothing",
        "hub:images:tiny",
        "hub:owner/repository:tiny",
        "\udce4",
    ),
    *("mine:", "mine:nothing", "mine:number", "mine:brightness", "mine:prompt", ":network", "mine"),
    *("nowhere:network", "text:network", "../mine:network", "os:getcwd", "builtins:exec", NO_PATH),
    *("mine:leaves", "a.b.c:d", "mine:network:more", "images/0.png", "torch.nn:Linear", "9" * 5000),
]
NO_WEIGHTS = [*NOWHERE, "text", "images", "evil.pt", "list.pt", "other.pt"]
NO_METHOD = [
    *("", ",", "Grad", "GradCAM,", "GradCAM,GradCAM", "all,GradCAM", "mine:nothing", "mine:number"),
    *(
        "mine:small",
        "mine:undefined",
        "mine:fails",
        "mine:nothing_at_all",
        "mine:leaves",
        "nowhere:x",
    ),
    *("os:getcwd", "mine:", ":", "\udce4", NO_PATH),
]
NO_METRIC = [
    "",
    ",",
    "sharpness",
    "leak,",
    "mine:nothing",
    "mine:fails",
    "image",
    "leak,leak",
    "x:y",
]

#: Of each command its places and options: values that are right, and such as are not.
DOWNLOADS = ("--images", "--stamps")
Values = dict[str, tuple[list[str], list[str]]]
WALLED: Values = {
    "network": (["mine:network"], NO_NETWORK),
    "--wall": (["8", "rows:4:12", "columns:8:left", "quadrant:top", "patches:4:0.3"], NO_WALL),
    "--layer": (["0", "0.0"], ["x", "", "7", "0.9", "1", "\udce4", "0.", NO_PATH]),
    "--construction": (["whole", "apart"], NO_NAME),
    "--weights": (["weights.pt"], NO_WEIGHTS),
}
DRAWN: Values = {
    "--n": (["2"], NO_COUNT),
    "--seed": (["3"], NO_SEED),
    "--hidden": (["same"], NO_NAME),
}
COMMANDS: dict[str, Values] = {
    "check": {
        **WALLED,
        "images": (["images"], [*NO_FOLDER, "mixed", "large"]),
        "--methods": (["GradCAM", "HiResCAM,LayerCAM", "mine:visible"], NO_METHOD),
        "--metrics": (["leak", "response,leak"], NO_METRIC),
        "--out": ([OUT], [*NO_OUT, "images"]),
        "--device": (
            ["cpu"],
            ["x", "", "cuda:99", "meta", "cpu:-1", "mps:9", "cpu:0:0", "9" * 5000],
        ),
        "--paint": (["zero", "grey"], NO_NAME),
        "--limit": (["2"], NO_COUNT),
        "--batch": (["2"], NO_COUNT),
        "--engine": (["camwall"], NO_NAME),
    },
    "certify": WALLED,
    "methods": {},
    "stacks open": {
        "out": ([], [*NO_OUT, "images"]),
        **DRAWN,
        "--wall": (
            ["112", "columns:112:left"],
            [*NO_WALL_OF_STACKS, "20", "200", "border:32"],
        ),
        "--stamps": (["images"], NO_FOLDER),
    },
    "stacks mix": {
        "source": (["classes"], [*NO_FOLDER, "images"]),
        "out": ([OUT], [*NO_OUT, "images"]),
        **DRAWN,
        "--wall": (["112"], [*NO_WALL_OF_STACKS, "2", "223", "border:32"]),
    },
    "stacks gen": {
        "source": (["images"], [*NO_FOLDER, "mixed"]),
        "out": ([OUT], [*NO_OUT, "images"]),
        "--pipeline": ([], ["x", "images", "nowhere/nothing", "\udce4", NO_PATH]),
        "--n": ([], ["2", "x"]),  # which is a pipeline's
        "--seed": ([], ["2", "-1"]),
        "--hidden": ([], ["same"]),
    },
    "survey": {
        "out": ([OUT], NO_OUT),
        "--images": (["images"], NO_FOLDER),
        "--only": (["resnet18"], NO_NAME),
        "--limit": (["1"], NO_COUNT),
    },
    "trial": {
        "out": ([OUT], NO_OUT),
        "--images": (["images"], NO_FOLDER),
        "--only": (["ResNet-18"], NO_NAME),
        "--limit": (["1"], NO_COUNT),
    },
    "train": {
        "out": ([OUT], NO_OUT),
        "--study": (["digits"], [*NO_NAME, "folder", "imagenet", "cifar10", "fashion"]),
        "--data": ([], ["images", "nowhere", "hf:x"]),
        "--stacks": (["0"], NO_NUMBERS),
        "--workers": (["0"], NO_NUMBERS),
        "--save-every": (["9"], NO_STEPS),
        "--epochs": (["1"], NO_STEPS),
        "--batch": (["64"], [*NO_COUNT, "99999"]),
        "--lr": (["0.1"], ["x", "nan", "inf", "0", "-1", "", "1e999"]),
        "--momentum": (["0.5"], ["x", "nan", "1", "-1", ""]),
        "--weight-decay": (["0"], ["x", "nan", "-1", "inf"]),
        "--lr-step": (["1"], NO_STEPS),
        "--lr-gamma": (["1"], ["x", "nan", "0", "2", "-1"]),
        "--dropout": (["0"], ["x", "nan", "1", "-1"]),
        "--seed": (["1"], NO_SEED),
        "--precision": (["no"], NO_NAME),
        "--micro-batch": (["8"], NO_STEPS),
    },
    "collect": {
        "runs": ([], [*NO_FOLDER, "images", "runs", "unread"]),
        "out": ([OUT], NO_OUT),
    },
    "audit": {"out": ([], NO_OUT)},
    "shrink": {
        "source": (["images"], [*NO_FOLDER, "mixed", "twice"]),
        "target": ([OUT], [*NO_OUT, "images", "images/below"]),
        "--size": (["8"], NO_COUNT),
        "--quality": (["50"], [*NO_COUNT, "96"]),
        "--workers": (["0"], NO_NUMBERS),
    },
    "fetch": {"names": ([], [name for name in NO_NAME if name])},
    "doctor": {},
}
#: Each value is right by itself.
CONTRADICTIONS = [
    "check mine:walled images --wall 4",
    "check mine:walled images --layer 0",
    "check mine:walled images --construction apart",
    "check mine:walled images --paint grey",
    "check mine:network images --engine captum --methods GradCAM++",
    "check mine:network images --metrics outline",
    "check mine:network images --wall 224",
    "check mine:network images more",
    "check mine:network images --nothing",
    "check mine:network images --limit",
    "check --wall 8 mine:network images extra",
    "certify mine:network --every-class=3",
    "certify mine:walled --layer 0",
    "certify mine:network images",
    "stacks",
    "stacks nothing out",
    "stacks open",
    "stacks open out --beside --wall columns:64",
    "stacks open out --hidden other --stamps empty",
    "stacks mix out",
    "stacks mix classes classes",
    "stacks gen images images",
    "train --study folder out",
    "train out --study digits --data images",
    "train out --no-visible-only --no-masked",
    "train out --crop-area 0.5",
    "train out --crop-area 1 0.5",
    "train out --crop-aspect 0 1",
    "train out --study folder --data images",
    "collect runs",
    "shrink images",
    "shrink images images",
    "nothing",
    "check check check check",
    "--version",
    "methods more",
    "doctor more",
]


def lines() -> list[tuple[str, ...]]:
    """Every value that is not right, once alone; and lines with several, drawn."""
    rng, found = Random(0), [tuple(line.split()) for line in CONTRADICTIONS]

    def line(command: str, wrong: set[str]) -> tuple[str, ...]:
        said, options = command.split(), []
        for name, (right, bad) in COMMANDS[command].items():
            option = name.startswith("--")
            left_out = option and name not in DOWNLOADS and rng.random() > 0.25
            if name not in wrong and (not right or left_out):
                continue
            value = rng.choice(bad if name in wrong else right)
            if not option:
                options += [value]
            else:
                options += rng.choice([[name, value], [f"{name}={value}"]])
        return *said, *options

    for command, values in COMMANDS.items():
        for name, (right, bad) in values.items():
            for value in bad:
                values[name] = (right, [value])
                found.append(line(command, {name}))
            values[name] = (right, bad)
        for _ in range(12 * bool(values)):
            found.append(line(command, set(rng.sample(sorted(values), min(2, len(values))))))
    return list(dict.fromkeys(found))


@pytest.fixture
def here(tmp_path, monkeypatch) -> Iterator[Path]:
    """A user's folder and home, without a network, and with all that a value above names."""
    work, kept = tmp_path / "work", tmp_path / KEPT
    work.mkdir()
    kept.mkdir()
    monkeypatch.chdir(work)
    (work / "mine.py").write_text(MINE + MORE, encoding="utf-8")
    images = image_files(work)
    (work / "text").write_text("no picture\n")
    (work / "text.pt").write_text("no weights\n")
    for folder in (
        "empty",
        "images.pt",
        "mixed",
        "large",
        "twice",
        "runs/1",
        "unread/1",
        "classes",
    ):
        (work / folder).mkdir(parents=True)
    for kind in ("n02119022", "n02391049"):
        shutil.copytree(images, work / "classes" / kind)
    shutil.copy(images / "0.png", work / "mixed")
    (work / "mixed" / "1.png").write_text("no picture")
    from PIL import Image

    Image.new("RGB", (40, 40)).save(work / "large" / "0.png")
    Image.new("RGB", (40, 40), "white").save(work / "large.png")
    Image.new("RGB", (16, 16)).save(work / "black.png")
    for name in ("x.jpg", "x.png"):
        Image.new("RGB", (16, 16)).save(work / "twice" / name)
    os.mkfifo(work / "pipe")
    os.mkfifo(work / "pipe.pt")
    (work / "broken.png").symlink_to("nowhere")
    torch.save({"weights": Evil()}, work / "evil.pt")
    torch.save([torch.ones(2)], work / "list.pt")
    torch.save(torch.nn.Linear(2, 2).state_dict(), work / "other.pt")
    (work / "unread" / "1" / "model.pt").write_text("x")
    for file in ("manifest.json", "metrics.csv"):
        (work / "unread" / "1" / file).write_text("x")
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path, str(work)])
    import mine

    torch.save(mine.network()[0].state_dict(), work / "weights.pt")
    for name in ("CAMWALL_CACHE", "TORCH_HOME", "HF_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(kept))
    monkeypatch.setenv("HOME", str(work))

    def offline(*given, **more):
        raise OSError("there is no network here")

    monkeypatch.setattr("socket.socket.connect", offline)
    monkeypatch.setattr("socket.create_connection", offline)
    monkeypatch.setattr("socket.getaddrinfo", offline)
    monkeypatch.setattr(urllib.request, "urlopen", offline)
    monkeypatch.setattr(subprocess, "run", offline)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    yield tmp_path
    monkeypatch.delitem(sys.modules, "mine", raising=False)


def ended(argv: tuple[str, ...]) -> tuple[object, str, str]:
    """How a command line ends: its status, what it printed, and what it said."""
    out, said = (
        io.TextIOWrapper(io.BytesIO(), "utf-8", errors)
        for errors in ("strict", "backslashreplace")  # as Python has them
    )
    status: object = None
    with redirect_stdout(out), redirect_stderr(said), warnings.catch_warnings(), within(20):
        warnings.simplefilter("default")
        before, sys.argv = sys.argv, ["camwall", *argv]
        try:
            cli.main()
        except SystemExit as end:
            status = end.code
        except BaseException as error:
            status = f"a bare {type(error).__name__}: {str(error)[:160]!r}"
        finally:
            sys.argv = before
    texts = []
    for stream in (out, said):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())
    return status, texts[0], texts[1]


def test_what_is_typed_is_refused_in_one_line(here, record_property):
    """With status 2; nothing outside the output folder is written, nothing in a file is run."""
    before, bad, tried = tree(here, [KEPT]), [], some_of(lines(), 60)
    for argv in tried:
        status, _, said = ended(argv)
        # Beside a progress bar, what is being downloaded, and what a library logs.
        told = [line for line in re.split(r"[\r\n]+", said) if line.strip() and "%|" not in line]
        told = [line for line in told if not re.match("camwall: [a-z-]+ downloads ", line)]
        if "--pipeline" in argv:
            told = told[-1:]
        if status != 2:
            bad.append((argv, status, said[-200:]))
        elif len(told) != 1 or not told[0].startswith("camwall: ") or "Traceback" in said:
            bad.append((argv, "says", said[-400:]))
        shutil.rmtree(here / "work" / OUT, ignore_errors=True)
        if (after := tree(here, [KEPT])) != before:
            bad.append((argv, "writes", sorted(after.items() ^ before.items())[:4]))
            before = after
    assert not bad, f"{len(bad)} of {len(tried)}:\n" + "\n".join(
        str(tuple(str(part)[:120] for part in each)) for each in bad
    )
    record_property("command lines", len(tried))
