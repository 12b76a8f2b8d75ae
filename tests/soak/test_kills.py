"""Work that is killed at any moment and begun again ends as if nobody had disturbed it."""

import hashlib
import io
import multiprocessing
import os
import tarfile
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from camwall.check import Report
from camwall.config import quick
from camwall.data import sources
from camwall.errors import DataUnavailable
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
    "training": (trained, of_training),
}


@pytest.mark.parametrize("kind", ["check", "shrink"] if quick() else WORK)
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


CONTENTS = {f"{number}.bin": Random(number).randbytes(150_000) for number in range(10)}
SUMS = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()}
#: How a server that is asked for a file answers.
ANSWERS = ("right", "slow", "cut", "wrong", "error", "silent")


def archive() -> bytes:
    """As Tux Paint's stamps come: in a folder of a compressed tar file."""
    with tarfile.open(fileobj=(file := io.BytesIO()), mode="w:gz") as tar:
        for name, content in CONTENTS.items():
            entry = tarfile.TarInfo(f"stamps-1/stamps/animals/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def serve(port, answer, content: bytes) -> None:
    """Answer every request as is asked for at the moment."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            how = ANSWERS[answer.value]
            self.send_response(503 if how == "error" else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            sent = bytearray(content)
            if how == "wrong":
                sent[len(sent) // 2] ^= 1
            if how == "cut":
                del sent[len(sent) // 2 :]
            with suppress(OSError):  # who asked may have been killed
                for start in range(0, len(sent), 2**16):
                    self.wfile.write(sent[start : start + 2**16])
                    time.sleep(0.02 * (how == "slow") + 0.2 * (how == "silent"))

        def log_message(self, *given: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        port.value = server.server_address[1]
        server.serve_forever()


@pytest.fixture
def server(monkeypatch) -> Iterator:
    """A server from which `sources` takes the data set ``toy``, by pooch; sets how it answers."""
    processes, content = multiprocessing.get_context("fork"), archive()
    port, answer = processes.Value("i", 0), processes.Value("i", 0)
    process = processes.Process(target=serve, args=(port, answer, content), daemon=True)
    process.start()
    while not port.value:
        time.sleep(0.01)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sources, "_STAMPS_URL", f"http://127.0.0.1:{port.value}/toy.tar.gz")
    monkeypatch.setattr(sources, "_STAMPS_SHA256", hashlib.sha256(content).hexdigest())
    toy = sources.Source("a toy", lambda: SUMS, sources.SOURCES["stamps"].download)
    monkeypatch.setitem(sources.SOURCES, "toy", toy)

    def answers(how: str) -> None:
        answer.value = ANSWERS.index(how)

    yield answers
    process.kill()
    process.join()


def obtained(cache: Path) -> None:
    """What another process has of the data set: 0 for all of it, 3 for a line that says why not."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)  # the progress bar
    os.environ["CAMWALL_CACHE"] = str(cache)
    sources._obtained.cache_clear()
    try:
        sources.obtain("toy")
    except DataUnavailable as error:
        os._exit(3 if "\n" not in str(error) else 4)
    os._exit(0)


def test_a_killed_download_ends_whole(server, tmp_path, record_property):
    """From a server that is slow, breaks off, lies, fails or says nothing; none of it is kept."""
    processes, rng = multiprocessing.get_context("fork"), Random(0)
    kills, refused, killed, number = 4 if quick() else 40, 0, 0, 0

    def run(folder: Path, how: str, seconds: float | None) -> int | None:
        server(how)
        process = processes.Process(target=obtained, args=(folder / "cache",))
        process.start()
        process.join(seconds)
        alive = process.is_alive()
        process.kill()
        process.join()
        return None if alive else process.exitcode

    def whole(folder: Path) -> bool:
        return sources.damaged("toy", folder / "cache" / "toy") is None

    start = time.perf_counter()
    assert run(tmp_path / "alone", "slow", None) == 0
    longest = time.perf_counter() - start
    while killed < kills:
        number += 1
        assert number < 20 * kills, "it is never killed"
        folder = tmp_path / str(number)
        for _ in range(rng.randint(1, 3)):
            how = rng.choice(ANSWERS)
            ended = run(folder, how, rng.uniform(0, longest) if rng.random() < 0.8 else 8.0)
            killed += ended is None
            refused += ended == 3
            if how in ("right", "slow"):
                assert ended in (None, 0)
            elif how != "silent" and not (folder / "cache" / "toy").exists():
                assert ended in (None, 3), how
            assert not (folder / "cache" / "toy").exists() or whole(folder)
        assert run(folder, "right", None) == 0
        assert whole(folder)
        assert {path.name for path in (folder / "cache").iterdir()} == {"toy", ".toy.lock"}
    record_property("kills of downloads", killed)
    record_property("downloads refused", refused)
