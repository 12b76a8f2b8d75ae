"""What only a GPU can show, in at most eight minutes: writes ``results/gpu/``.

    make gpu                                # on a CUDA machine
    python benchmarks/gpu.py OUT --quick    # the same code, small and on a CPU: tests run it

Each row of the table says what was tried, how, the number found, and whether it is what is
promised, where something is. A part for which no time is left is a row that says so.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from camwall import (
    WalledModel,
    build_wall,
    certify,
    check,
    efficientnet_lite0,
    masked_vgg16,
    response,
    runs,
)
from camwall.check import default_methods
from camwall.methods import explain_each
from camwall.models import MaskedModel, small_vgg
from camwall.train import Recipe, TrainingData, fit
from camwall.train.sources import ArraySource
from camwall.train.trainer import Trainer

SECONDS = 480
#: Methods whose response is exactly 0, by their weights at each position.
BLIND = ("HiResCAM", "LayerCAM")
Row = dict[str, Any]


def _training(quick: bool, count: int) -> tuple[MaskedModel, TrainingData]:
    torch.manual_seed(0)
    model = small_vgg() if quick else masked_vgg16()
    shape = (len(model.preprocessing.mean), *model.preprocessing.size)
    gen = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, *shape), generator=gen, dtype=torch.uint8)
    source = ArraySource(images, torch.arange(count) % 10)
    names = tuple(map(str, range(10 if quick else 1000)))
    return model, TrainingData("noise", source, source, model.preprocessing, names)


def steps(device: torch.device, quick: bool) -> Iterator[Row]:
    """Images per second of a training step: the whole network and its visible part."""
    batch, count = (4, 2) if quick else (64, 10)
    for precision in ("no",) if quick else ("no", "bf16", "fp16"):
        for visible in (True, False):
            model, data = _training(quick, batch)
            recipe = Recipe(batch=batch, visible_only=visible, precision=precision)
            trainer = Trainer(model, data, recipe)
            seconds = []
            for _ in range(count):
                begin = time.perf_counter()
                trainer.optimise(iter(trainer.train))
                _wait(device)
                seconds.append(time.perf_counter() - begin)
            how = f"{'visible part' if visible else 'whole'}, {precision}"
            fastest = batch / min(seconds[1:])
            yield {"part": "training", "how": how, "value": fastest, "unit": "images/s"}
            del trainer, model


def train(quick: bool, out: Path) -> None:
    """A short run, which a caller may kill."""
    model, data = _training(quick, 16 if quick else 64)
    recipe = Recipe(epochs=2, batch=8, visible_only=True, precision="no")
    fit(model, data, recipe, out, save_every=1, progress=False)


def resumed(device: torch.device, quick: bool) -> Iterator[Row]:
    """A run that is killed once its first checkpoint is there, and one that is not."""
    with tempfile.TemporaryDirectory() as folder:
        weights = []
        for name, kill in (("alone", False), ("killed", True)):
            out = Path(folder) / name
            command = [sys.executable, __file__, str(out), "--train", *["--quick"] * quick]
            if kill:
                process = subprocess.Popen(command)
                while process.poll() is None and not (out / "last.pt").exists():
                    time.sleep(0.02)
                process.kill()
                process.wait()
            subprocess.run(command, check=True)
            saved = torch.load(out / "model.pt", map_location="cpu", weights_only=True)
            weights.append(saved["state_dict"])
        one, other = weights
        most = max(float((one[name] - other[name]).abs().max()) for name in one)
        yield {"part": "a kill and a resume", "how": "weights", "value": most, "unit": "difference"}


def _network(device: torch.device, quick: bool) -> WalledModel:
    if quick:
        torch.manual_seed(0)
        return small_vgg().eval().to(device)
    return build_wall(efficientnet_lite0().to(device), 160)


def _images(model: WalledModel, count: int) -> torch.Tensor:
    gen = torch.Generator().manual_seed(1)
    return model.preprocessing.artificial(model, count - 2, gen)


def maps(device: torch.device, quick: bool) -> Iterator[Row]:
    """Each method's maps here and on the CPU."""
    here, there = _network(device, quick), _network(torch.device("cpu"), quick)
    images = _images(there, 4)
    slow = ("ScoreCAM", "Opti-CAM", *["AblationCAM"] * quick)
    methods = [name for name in default_methods() if name not in slow]
    target = there(images).argmax(1).tolist()
    ours = explain_each(here, images.to(device), methods, target)
    for name, wanted in explain_each(there, images, methods, target).items():
        apart = float((ours[name].cpu() - wanted).abs().max())
        yield {"part": "maps as on the CPU", "how": name, "value": apart, "unit": "of 1"}


def zeros(device: torch.device, quick: bool) -> Iterator[Row]:
    """The response of methods that do not see, in every arithmetic; the certificate."""
    model = _network(device, quick)
    images = _images(model, 4)
    for how, tf32, half in (("float32", False, None), ("TF32", True, None), ("bf16", True, True)):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        with torch.autocast(device.type, torch.bfloat16) if half else nullcontext():
            for name in BLIND:
                found = float(response(model, images, name).max())
                row = {"part": "response", "how": f"{name}, {how}", "value": found}
                yield {**row, "unit": "of the norm", "promised": half or found == 0}
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    begin = time.perf_counter()
    said = str(certify(model))
    took = time.perf_counter() - begin
    yield {"part": "certify", "how": said.partition(":")[0], "value": took, "unit": "s"}


def checks(device: torch.device, quick: bool) -> Iterator[Row]:
    """Seconds an image of a check, at several batch sizes and by the package grad-cam."""
    model, methods = _network(device, quick), ["GradCAM", "GradCAM++", "HiResCAM", "LayerCAM"]
    images = _images(model, 4 if quick else 64)
    for engine, batch in (("camwall", 1), ("camwall", 4), ("camwall", 16), ("grad-cam", 1)):
        some = images[: max(4, batch)]
        begin = time.perf_counter()
        check(model, some, methods, batch=batch, engine=engine, progress=False)
        _wait(device)
        took = (time.perf_counter() - begin) / len(some)
        yield {"part": "check", "how": f"{engine}, batch {batch}", "value": took, "unit": "s/image"}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--train", action="store_true")
    given = parser.parse_args()
    if given.train:
        train(given.quick, given.out)
        return
    if not given.quick and not torch.cuda.is_available():
        sys.exit("no CUDA device here: --quick tries the same code on a CPU")
    device = torch.device("cpu" if given.quick else "cuda")
    begin, rows = time.perf_counter(), []
    for part in (zeros, maps, checks, steps, resumed):
        if time.perf_counter() - begin > 0.8 * SECONDS:
            rows.append({"part": part.__name__, "how": "not reached", "promised": False})
            continue
        rows += part(device, given.quick)
        print(f"{part.__name__}: done by {time.perf_counter() - begin:.0f} s", flush=True)
    runs.write_csv(given.out / "table.csv", pd.DataFrame(rows))
    named = "cpu" if given.quick else torch.cuda.get_device_name()
    seconds = round(time.perf_counter() - begin)
    record = runs.manifest({"quick": given.quick}, seed=0, device=named, seconds=seconds)
    runs.write_json(given.out / "manifest.json", record)


if __name__ == "__main__":
    main()
