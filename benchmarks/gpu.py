"""What only a GPU can show, in at most eight minutes: writes ``results/gpu/``.

    make gpu                                # on a CUDA machine
    python benchmarks/gpu.py OUT --quick    # the same code, small and on the CPU: tests run it

Each row of the table says what was tried, what was found, and whether it is what is promised, where
something is. Each part is a process of its own, so that its memory is its own, and is stopped when
its share of the time is over. A part that was stopped or has failed is a row that says why. The
exit status is 1 where something promised was not found.
"""

import argparse
import gc
import json
import math
import multiprocessing
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer

import camwall
from camwall import METHODS, BlindnessError, CamwallError, Preprocessing, WalledModel, runs
from camwall.as_found import evaluating
from camwall.methods import Evidence, Mechanism, Saliency
from camwall.models import MaskedModel, masked_vgg16, small_vgg
from camwall.testing import some_images, walled_model
from camwall.train import Recipe, TrainingData, fit
from camwall.train.sources import ArraySource
from camwall.train.trainer import Trainer

#: No device, or none that is to be seen: all is small.
QUICK = not torch.cuda.is_available()
CPU, PLACE = torch.device("cpu"), torch.device("cpu" if QUICK else "cuda")
#: The parts, and the share of the time that each is sure to have.
SHARES = {"zeros": 0.18, "maps": 0.24, "checks": 0.16, "steps": 0.18, "resumed": 0.1}
SHARES["processes"] = 0.12
#: Methods whose maps are 0 behind a wall, by their weights at each position.
BLIND = ("HiResCAM", "LayerCAM", "GradCAMElementWise")
#: Whether TF32 is allowed, and autocast's type, for which no exact zeros are promised.
ARITHMETICS = {"float32": (False, None), "TF32": (True, None)}
ARITHMETICS |= {"bf16": (True, torch.bfloat16), "fp16": (True, torch.float16)}
#: A sign that the last bit decides; fifty steps uphill, which rounding may lead elsewhere.
UNSURE = ("EigenCAM", "EigenCAM (flipped)", "EigenGradCAM", "Opti-CAM")
#: How far rounding may take a map, in units of its norm, and a weight.
ROUNDING = 1e-3
#: Short training runs: whether small, their images, batch, epochs, precision.
RUNS = {"small": (True, 96, 8, 6, "no"), "half": (True, 96, 8, 6, "bf16" if QUICK else "fp16")}
RUNS |= {"large": (False, 512, 64, 2, "no")}
DIFFERENCE = "largest difference of a weight"
Row = dict[str, Any]


def row(how: str, value: float, unit: str, kept: bool | None = None, **more: float) -> Row:
    """What was found; ``kept`` is None where nothing is promised."""
    return {"how": how, "value": value, "unit": unit, "kept": kept, **more}


# -- the parts


def zeros() -> Iterator[Row]:
    """Behind the wall nothing shows and nothing moves, in every arithmetic; certificates."""
    masked = vgg(QUICK).eval().to(PLACE)
    for name, model in {"walled": walled(PLACE), "masked": masked}.items():
        images = some_images(model, 2)
        for how, (tf32, half) in ARITHMETICS.items():
            allow_tf32(tf32)
            with torch.autocast(PLACE.type, half, enabled=half is not None):
                for method in BLIND:
                    raw = camwall.explain(model, images, method, normalize=False).detach()
                    most = float(raw[:, ~model.visible_cells].abs().max())
                    most = max(most, float(camwall.response(model, images, method).max()))
                    kept = None if half else most == 0
                    yield row(f"{method}, {name}, {how}", most, "exactly 0", kept)
            if half is None:
                begin, proved = time.perf_counter(), False
                with suppress(BlindnessError):
                    proved = camwall.certify(model).proved is not None
                yield row(f"certify, {name}, {how}", time.perf_counter() - begin, "s", proved)
        with torch.no_grad():
            painted = images.masked_fill(model.wall.hidden.to(PLACE), 1e3)
            apart = float((model(painted) - model(images)).abs().max())
        yield row(f"scores under a repaint by the kernels that come, {name}", apart, "score")
    way = Preprocessing(crop=32) if QUICK else None
    halves = camwall.twins(network().to(PLACE), "GradCAM", preprocessing=way)
    yield row("GradCAM on twins", halves.difference, "exactly 0", halves.equal)


def maps() -> Iterator[Row]:
    """Each method's maps here and on the CPU; on small networks those of packages too."""
    allow_tf32(False)
    looks = [name for name, method in METHODS.items() if method.mechanism is Mechanism.ATTENTION]
    ours = [name for name, method in METHODS.items() if method.raw]
    others = [name for name in METHODS if name not in looks]
    for where, make, methods in (
        ("small CNN", lambda place: walled_model().to(place), others),
        ("small ViT", partial(walled, small=True), looks),
        ("EfficientNet-Lite0", walled, [] if QUICK else ours),
    ):
        both = make(PLACE), make(CPU)
        images = some_images(both[1], 2)
        target = both[1](images).argmax(1).tolist()
        for method in methods:
            how = f"{method}, {where}"
            try:
                found, wanted = (raw_map(model, images, method, target) for model in both)
            except CamwallError as error:  # some packages cannot follow some networks
                yield row(f"{how}: {error}"[:200], math.nan, "of the norm")
                continue
            apart = float((found - wanted).norm() / wanted.norm())
            sure = METHODS[method].raw is not None and method not in UNSURE
            yield row(how, apart, "of the norm", apart < ROUNDING if sure else None)


def checks() -> Iterator[Row]:
    """Seconds an image of a check, by the package grad-cam and by us, at several batch sizes."""
    model, methods = walled(PLACE), ["GradCAM", "GradCAM++", "HiResCAM", "LayerCAM"]
    images = some_images(model, 8 if QUICK else 64)
    package = math.inf
    trials = [("grad-cam", 1), ("grad-cam", 16), *(("camwall", size) for size in (1, 4, 16, 64))]
    for engine, batch in trials:
        some = images[: max(8, batch)]
        options = {"batch": batch, "engine": engine, "progress": False}
        run = partial(camwall.check, model, some, methods, **options)
        try:
            took, peak = measured(run, 1 if QUICK else 2)
        except torch.OutOfMemoryError:
            yield row(f"{engine}, batch {batch}: out of memory", math.nan, "s/image")
            continue
        seconds = took / len(some)
        yield row(f"{engine}, batch {batch}", seconds, "s/image", **peak)
        if engine == "grad-cam":
            package = min(package, seconds)
        else:
            yield row(f"against grad-cam's best, batch {batch}", package / seconds, "times as fast")


def steps() -> Iterator[Row]:
    """Images a second and memory of a training step of the masked VGG16, whole and visible part."""
    for precision in ("no", "bf16") if QUICK else ("no", "bf16", "fp16"):
        batch = 4 if QUICK else 64
        for part in ("whole", "visible part"):  # where the whole fits, its part does
            while True:
                try:
                    yield step(part, precision, batch)
                    break
                except torch.OutOfMemoryError:
                    batch //= 2


def step(part: str, precision: str, batch: int) -> Row:
    model = vgg(QUICK)
    recipe = Recipe(batch=batch, lr=1e-3, precision=precision, visible_only=part != "whole")
    trainer = Trainer(model, noise(model, batch), recipe)
    inputs = next(iter(trainer.train))
    seconds, peak = measured(lambda: trainer.optimise(iter([inputs])), 1 if QUICK else 10)
    trainer.check_finite()
    how = f"{part}, {precision.replace('no', 'float32 as torch has it')}, batch {batch}"
    return row(how, batch / seconds, "images/s", **peak)


def resumed() -> Iterator[Row]:
    """A run that is killed and goes on ends no further off than the same run twice."""
    with tempfile.TemporaryDirectory() as folder:
        alone, again, killed = (Path(folder) / name for name in ("alone", "again", "killed"))
        for out in (alone, again):
            train(out, "half")
        process = beside(train, killed, "half")
        while process.is_alive() and not (killed / "last.pt").exists():
            time.sleep(0.01)
        process.kill()
        process.join()
        early = process.exitcode != 0
        train(killed, "half")
        usual, most = apart_by(alone, again), apart_by(alone, killed)
    yield row("the same run again", usual, DIFFERENCE)
    yield row("killed and resumed", most, DIFFERENCE, early and most <= usual)


def processes() -> Iterator[Row]:
    """Two processes are one training, and how much faster."""
    if not QUICK and torch.cuda.device_count() < 2:
        yield row("one card here: two processes were not tried", math.nan, "")
        return
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("small",) if QUICK else ("small", "large"):
            one, two = Path(folder) / f"{kind} 1", Path(folder) / f"{kind} 2"
            train_by_two(two, kind)
            train(one, kind)
            for how, out in (("one process", one), ("two processes", two)):
                last = pd.read_csv(out / "metrics.csv").iloc[-1]
                yield row(f"{how}, {kind} network", last["images_per_second"], "images/s")
            if kind == "small":
                apart = apart_by(one, two)
                yield row("two processes and one", apart, DIFFERENCE, apart < ROUNDING)


PARTS = {part.__name__: part for part in (zeros, maps, checks, steps, resumed, processes)}

# -- what they are made of


def train(out: Path, kind: str) -> None:
    """One of `RUNS`, which a caller may kill; kernels keep one order where cuDNN can."""
    allow_tf32(False)
    torch.backends.cudnn.deterministic = True
    small, count, batch, epochs, precision = RUNS[kind]
    model = vgg(small)
    recipe = Recipe(epochs=epochs, batch=batch, lr=1e-3, dropout=0.0, precision=precision)
    fit(model, noise(model, count), recipe, out, save_every=1 if small else 1000, progress=False)


def train_by_two(out: Path, kind: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [beside(train_as, rank, port, out, kind) for rank in "01"]
    for process in both:
        process.join()
    if any(process.exitcode for process in both):
        raise RuntimeError("one of two processes failed")


def train_as(rank: str, port: int, out: Path, kind: str) -> None:
    """One of two processes, with what accelerate's launcher tells it."""
    os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"ACCELERATE_USE_CPU": "true"} if QUICK else {}
    train(out, kind)
    torch.distributed.destroy_process_group()


def vgg(small: bool) -> MaskedModel:
    torch.manual_seed(0)
    return small_vgg() if small else masked_vgg16()


def noise(model: MaskedModel, count: int) -> TrainingData:
    way, classes = model.preprocessing, model.head[-1].out_features
    gen = torch.Generator().manual_seed(0)
    shape = count, len(way.mean), *way.size
    images = torch.randint(0, 256, shape, generator=gen, dtype=torch.uint8)
    source = ArraySource(images, torch.arange(count) % 10)
    return TrainingData("noise", source, source, way, tuple(map(str, range(classes))))


def network(small: bool = QUICK) -> nn.Module:
    if not small:
        return camwall.efficientnet_lite0()
    torch.manual_seed(0)
    found = VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=5)
    nn.init.normal_(found.heads.head.weight)  # torchvision's is 0
    return found.eval()


def walled(place: torch.device, small: bool = QUICK) -> WalledModel:
    way = Preprocessing(crop=32) if small else None
    return camwall.build_wall(network(small).to(place), 16 if small else 160, preprocessing=way)


def raw_map(model: WalledModel, images: Tensor, method: str, target: list[int]) -> Tensor:
    with torch.no_grad(), evaluating(model):
        evidence = Evidence(model, images.to(model.visible_cells.device), target)
        found = Saliency(evidence, METHODS[method])
    return (found.cut if found.raw is None else found.raw).cpu().double()


def allow_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def measured(run: Callable[[], Any], times: int) -> tuple[float, dict[str, float]]:
    """The median of the seconds of several runs, after one that warms up, and the peak memory."""
    gc.collect()
    if not QUICK:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    took = []
    for _ in range(times + 1):
        begin = time.perf_counter()
        run()
        if not QUICK:
            torch.cuda.synchronize()
        took.append(time.perf_counter() - begin)
    peak = {} if QUICK else {"peak MiB": torch.cuda.max_memory_allocated() / 2**20}
    return statistics.median(took[1:]), peak


def apart_by(one: Path, other: Path) -> float:
    first, second = (
        torch.load(out / "model.pt", weights_only=True)["state_dict"] for out in (one, other)
    )
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def beside(what: Callable[..., None], *given: Any) -> BaseProcess:
    """A process of its own, which is started anew: CUDA takes no fork."""
    process = multiprocessing.get_context("spawn").Process(target=what, args=given)
    process.start()
    return process


# -- the run


def rows_of(part: str, out: Path) -> None:
    """Each row as a line, as soon as it is found."""
    os.setsid()  # whoever stops this stops what it started
    with out.open("w") as file:
        try:
            for found in PARTS[part]():
                print(json.dumps(found), file=file, flush=True)
        except Exception as error:
            why = f"failed: {type(error).__name__}: {error}"[:200]
            print(json.dumps(row(why, math.nan, "", False)), file=file, flush=True)


def tried(part: str, seconds: float) -> list[Row]:
    """The rows of a part, which runs in processes of its own for so many seconds at most."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows"
        process = beside(rows_of, part, out)
        try:
            process.join(seconds)
        finally:
            late = process.is_alive()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.join()
        lines = out.read_text().split("\n")[:-1] if out.exists() else []
    rows = [{"part": part, **json.loads(line)} for line in lines]
    if process.exitcode:
        why = f"stopped after {seconds:.0f} s" if late else f"died of {process.exitcode}"
        rows.append({"part": part, **row(why, math.nan, "", False)})
    return rows


def all_parts(out: Path, seconds: float) -> int:
    """The exit status. Table and manifest are written after each part."""
    begin, rows, names = time.monotonic(), [], list(PARTS)
    for number, part in enumerate(names):
        later = sum(SHARES[each] for each in names[number + 1 :])
        left = seconds * (0.97 - later) - (time.monotonic() - begin)
        rows += tried(part, max(left, 0.0))
        took = time.monotonic() - begin
        cards = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
        about = {"device": ", ".join(cards) or "cpu", "seconds": round(took)}
        runs.write_csv(out / "table.csv", pd.DataFrame(rows))
        record = runs.manifest({"quick": QUICK}, seed=0, **about)
        runs.write_json(out / "manifest.json", record)
        print(f"{took:4.0f} s: {part}", flush=True)
    broken = [each for each in rows if each["kept"] is False]
    for each in broken:
        print(f"not as promised: {each['part']}: {each['how']}: {each['value']} {each['unit']}")
    return int(bool(broken))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true", help="small, and on the CPU")
    parser.add_argument("--seconds", type=float, default=480, help="all that a run may take")
    given = parser.parse_args()
    if given.quick and not QUICK:  # again, where no device is to be seen
        hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
        sys.exit(subprocess.run([sys.executable, *sys.argv], env=hidden).returncode)
    elif QUICK and not given.quick:
        sys.exit("no CUDA device here: --quick tries the same code on a CPU")
    else:
        sys.exit(all_parts(given.out, given.seconds))


if __name__ == "__main__":
    main()
