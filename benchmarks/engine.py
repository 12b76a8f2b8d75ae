"""Both engines on the same images in one process: how much faster ours is, and that maps agree.

    python benchmarks/engine.py                  # the table of the book, some 16 minutes
    python benchmarks/engine.py --network efficientnet --slow 1

Each figure includes the trunk's pass and rendering. grad-cam is called as its manual says, one
object a method, and pays for its methods one by one; ours runs them from one pass. Peak memory is
that of a process of its own for each engine and task within its first 20 seconds, beyond the loaded
model's (on Linux; ``--no-memory`` elsewhere): what the slow methods hold they hold from their first
perturbed images on.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pandas as pd
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from camwall import METHODS, WalledModel, build_wall, efficientnet_lite0, masked_vgg16
from camwall.methods import PAPER, explain_each
from camwall.runs import manifest, peak_memory, write_csv, write_json

ROOT = Path(__file__).resolve().parents[1]
GRADIENT = (
    "GradCAM",
    "GradCAM++",
    "XGradCAM",
    "HiResCAM",
    "LayerCAM",
    "GradCAMElementWise",
    "EigenGradCAM",
)
#: Rows of the table: a label, and the methods that are run together.
TASKS = {
    "seven gradient-based": GRADIENT,
    "EigenCAM": ("EigenCAM",),
    "AblationCAM": ("AblationCAM",),
    "ScoreCAM": ("ScoreCAM",),
}
#: Tasks that run the network hundreds of times.
SLOW = ("AblationCAM", "ScoreCAM")
#: Seconds before each run. After a decomposition the threads of the BLAS wait for more work in a
#: busy loop, for some tens of milliseconds, which would be charged to whoever runs next.
PAUSE = 0.5
#: Seconds after which peak memory is read.
WINDOW = 20


def load(network: str, seed: int) -> WalledModel:
    """The paper's network with random weights, or EfficientNet-Lite0 behind a wall at row 160."""
    torch.manual_seed(seed)
    if network == "vgg16":
        return masked_vgg16().eval()
    return build_wall(efficientnet_lite0(), 160)


def image(model: WalledModel, seed: int) -> Tensor:
    """One smooth random image; what it shows does not matter to the cost of grad-cam."""
    gen = torch.Generator().manual_seed(seed)
    pixels = torch.rand(1, 3, 16, 16, generator=gen)
    pixels = torch.nn.functional.interpolate(pixels, (224, 224), mode="bicubic").clamp(0, 1)
    return model.preprocessing.normalize(pixels)


def ours(model: WalledModel, batch: Tensor, methods: tuple[str, ...], unit: int) -> list[Tensor]:
    """Normalised maps of ``methods`` from one pass."""
    return list(explain_each(model, batch, methods, unit).values())


def theirs(model: WalledModel, batch: Tensor, methods: tuple[str, ...], unit: int) -> list[Tensor]:
    """The same through grad-cam, one call a method."""
    found = []
    silent = SimpleNamespace(tqdm=lambda iterable: iterable)
    with (
        mock.patch("pytorch_grad_cam.score_cam.tqdm", silent),
        mock.patch("pytorch_grad_cam.ablation_cam.tqdm", silent),
    ):
        for name in methods:
            cls = getattr(pytorch_grad_cam, METHODS[name].packages.get("grad-cam", ""))
            with cls(model, [model.target_layer]) as cam:
                maps = cam(batch, [ClassifierOutputTarget(unit)] * len(batch))
            found.append(torch.from_numpy(maps))
    model.zero_grad(set_to_none=True)
    return found


ENGINES: dict[str, Callable[..., list[Tensor]]] = {"camwall": ours, "grad-cam": theirs}


def seconds(run: Callable[..., list[Tensor]], *arguments: object) -> tuple[float, list[Tensor]]:
    time.sleep(PAUSE)
    start = time.perf_counter()
    found = run(*arguments)
    return time.perf_counter() - start, found


def peak_of(network: str, task: str, engine: str, args: argparse.Namespace) -> float:
    """Peak memory of one call in a process of its own, above the loaded model, in MiB."""
    command = [sys.executable, __file__, "--network", network, "--measure", engine, task]
    command += ["--threads", str(args.threads), "--seed", str(args.seed)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return round(float(done.stdout.splitlines()[-1]))


def measure(network: str, engine: str, task: str, seed: int) -> None:
    """Print the peak memory of one call, in MiB above the loaded model's."""
    model = load(network, seed)
    batch = image(model, seed)
    peak = peak_memory()

    def report(*_: object) -> None:
        signal.alarm(0)  # or it could ring where Python, on its way out, has no handler any more
        print(peak(), flush=True)
        sys.exit()

    signal.signal(signal.SIGALRM, report)
    signal.alarm(WINDOW)
    ENGINES[engine](model, batch, TASKS[task], 0)
    report()


def compare(network: str, args: argparse.Namespace) -> list[dict[str, object]]:
    """One row for each task: median seconds, spread, ratio, agreement, memory."""
    model = load(network, args.seed)
    batch = image(model, args.seed)
    with torch.no_grad():
        unit = int(model(batch).argmax())
    ours(model, batch, ("GradCAM",), unit)  # warm up
    rows: list[dict[str, object]] = []
    for task, methods in TASKS.items():
        runs: dict[str, list[float]] = {"camwall": [], "grad-cam": []}
        maps: dict[str, list[Tensor]] = {}
        repeats = {
            "camwall": args.slow if task == "ScoreCAM" else args.repeats,
            "grad-cam": args.slow if task in SLOW else args.repeats,
        }
        for turn in range(max(repeats.values())):  # in turns, so that both meet the same load
            for engine, run in ENGINES.items():
                if turn < repeats[engine]:
                    took, maps[engine] = seconds(run, model, batch, methods, unit)
                    runs[engine].append(took)
        apart = max(
            float((a - b).abs().max())
            for a, b in zip(maps["camwall"], maps["grad-cam"], strict=True)
        )
        row: dict[str, object] = {"network": network, "task": task, "methods": len(methods)}
        for engine, taken in runs.items():
            key = engine.replace("-", "")
            row |= {
                f"{key}_seconds": statistics.median(taken),
                f"{key}_low": min(taken),
                f"{key}_high": max(taken),
                f"{key}_runs": len(taken),
                f"{key}_peak_mib": peak_of(network, task, engine, args) if args.memory else None,
            }
        row["ratio"] = statistics.median(runs["grad-cam"]) / statistics.median(runs["camwall"])
        row["largest_difference"] = apart
        print(
            f"{network:>12} {task:>20}: {row['gradcam_seconds']:8.2f} s → "
            f"{row['camwall_seconds']:7.3f} s, {row['ratio']:6.1f}×, maps within {apart:.0e}, "
            f"peak {row['gradcam_peak_mib']} → {row['camwall_peak_mib']} MiB",
            flush=True,
        )
        rows.append(row)
    return rows


def paper_total(rows: list[dict[str, object]], network: str) -> float:
    """The seven methods of the paper's table that grad-cam has, all together: their ratio.

    The gradient-based ones among them are charged the whole pass of seven, on our side.
    """
    by_task = {row["task"]: row for row in rows if row["network"] == network}
    gradient = [name for name in PAPER if name in GRADIENT]
    each = float(by_task["seven gradient-based"]["gradcam_seconds"]) / len(GRADIENT)  # type: ignore[arg-type]
    others = ("EigenCAM", *SLOW)
    total = {
        engine: sum(float(by_task[task][f"{engine}_seconds"]) for task in others)  # type: ignore[arg-type]
        for engine in ("camwall", "gradcam")
    }
    total["gradcam"] += each * len(gradient)
    total["camwall"] += float(by_task["seven gradient-based"]["camwall_seconds"])  # type: ignore[arg-type]
    return total["gradcam"] / total["camwall"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=["vgg16", "efficientnet"], action="append")
    parser.add_argument("--repeats", type=int, default=5, help="runs of what takes seconds")
    parser.add_argument("--slow", type=int, default=3, help="runs of what takes a minute")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "engine")
    parser.add_argument("--measure", nargs=2, metavar=("ENGINE", "TASK"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    networks = args.network or ["vgg16", "efficientnet"]
    if args.measure:
        measure(networks[0], *args.measure, args.seed)
        return
    parameters = {k: v for k, v in vars(args).items() if k not in ("measure", "out")}
    rows: list[dict[str, object]] = []
    totals: dict[str, float] = {}
    for network in networks:
        rows += compare(network, args)
        totals[network] = paper_total(rows, network)
        print(f"{network:>12} the paper's seven together: {totals[network]:.1f}×", flush=True)
        write_csv(args.out / "speed.csv", pd.DataFrame(rows))
        write_json(
            args.out / "manifest.json",
            manifest(
                parameters | {"network": list(totals)},
                seed=args.seed,
                command=" ".join(["python benchmarks/engine.py", *sys.argv[1:]]),
                paper_seven_together=totals,
                load_average=os.getloadavg(),
                image="one of 224 × 224 pixels, smooth noise",
            ),
        )


if __name__ == "__main__":
    main()
