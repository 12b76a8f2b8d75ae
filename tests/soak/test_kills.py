"""Work that is killed at any moment and begun again ends as if nobody had disturbed it."""

import hashlib
import multiprocessing
import time
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from camwall.check import Report
from camwall.config import quick
from camwall.data import sources
from camwall.stacks import store
from camwall.train.recipe import Recipe
from camwall.train.shrink import shrink_folder
from tests.helpers.checks import image_files, quiet, small_model
from tests.helpers.training import make_data, make_model

KILLS = 1 if quick() else 20  # of each kind of work


def checked(folder: Path) -> Report:
    methods = ["GradCAM", "HiResCAM", "EigenCAM"]
    return quiet(small_model(), folder / "images", methods, run=folder / "run")


def of_check(folder: Path) -> object:
    records = checked(folder).records
    assert len(records) == 15
    return records[["image", "method", "target", "response", "leak", "leak_clear"]].to_csv()


def built(folder: Path) -> None:
    def stacks():
        for number in range(40):
            pixels = np.random.default_rng(number).integers(0, 256, (224, 224, 3), np.uint8)
            yield Image.fromarray(pixels), {"visible_index": number}

    store.build(folder / "stacks", "test", {"a": 1}, 0, stacks, 40, progress=False)


def of_folder(name: str):
    def content(folder: Path) -> object:
        files = sorted(path for path in (folder / name).rglob("*") if path.is_file())
        files = [path for path in files if path.name != "manifest.json"]  # which has a date
        assert not [path for path in (folder / name).parent.iterdir() if ".unfinished" in path.name]
        return {str(p.relative_to(folder)): p.read_bytes() for p in files}

    return content


def shrunk(folder: Path) -> None:
    shrink_folder(folder / "images", folder / "small", size=8, progress=False)


def downloaded(folder: Path) -> None:
    contents = {f"{number}.bin": bytes([number]) * 10**6 for number in range(20)}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}

    def download(into: Path) -> Path:
        for name, content in contents.items():
            (into / name).write_bytes(content)
        return into

    sources.SOURCES["toy"] = sources.Source("a toy", lambda: sums, download, "none", "no/such")
    sources.unpack = lambda package, folder: folder  # no apt
    sources._obtained("toy", folder / "cache" / "toy")


def trained(folder: Path) -> None:
    from camwall.train import fit

    recipe = Recipe(epochs=2, batch=8, seed=3, precision="no")
    data = make_data()
    fit(make_model(data), data, recipe, folder / "run", save_every=2, progress=False)


def of_training(folder: Path) -> object:
    saved = torch.load(folder / "run" / "model.pt", weights_only=True)["state_dict"]
    metrics = (folder / "run" / "metrics.csv").read_text()
    return metrics.count("\n"), {name: value.tolist() for name, value in saved.items()}


WORK = {
    "check": (checked, of_check),
    "stacks": (built, of_folder("stacks")),
    "shrink": (shrunk, of_folder("small")),
    "download": (downloaded, of_folder("cache/toy")),
    "training": (trained, of_training),
}


@pytest.mark.parametrize("kind", ["check", "shrink", "download"] if quick() else WORK)
def test_a_killed_run_ends_as_an_undisturbed_one(kind, tmp_path, record_property):
    """Killed twice or thrice at random moments, then left alone; nothing is lost or doubled."""
    work, result = WORK[kind]
    processes, rng = multiprocessing.get_context("fork"), Random(kind)

    def run(folder: Path, seconds: float | None) -> bool:
        process = processes.Process(target=work, args=(folder,))
        process.start()
        process.join(seconds)
        killed = process.is_alive()
        process.kill()
        process.join()
        assert killed or process.exitcode == 0
        return killed

    def place(name: str) -> Path:
        (tmp_path / name).mkdir()
        image_files(tmp_path / name)
        return tmp_path / name

    start = time.perf_counter()
    run(place("alone"), None)
    whole, wanted = time.perf_counter() - start, result(tmp_path / "alone")
    killed, number = 0, 0
    while killed < KILLS:
        number += 1
        assert number < 20 * KILLS, "it is never killed"
        folder = place(str(number))
        for _ in range(rng.randint(1, 3)):
            killed += run(folder, rng.uniform(0, whole))
        run(folder, None)
        assert result(folder) == wanted
    record_property("kills", killed)
