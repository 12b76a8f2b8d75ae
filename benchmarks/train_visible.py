"""Time and memory of training steps of the paper's VGG16: its visible part, and all of it masked.

Each variant runs in a process of its own, in turns, so that its peak memory is its own and a
change of the machine's load meets both. Writes ``results/training-vgg16/``. About four minutes on
two cores:

    python benchmarks/train_visible.py
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from camwall import masked_vgg16, runs
from camwall.config import quick
from camwall.train import Recipe, TrainingData
from camwall.train.sources import ArraySource
from camwall.train.trainer import Trainer

OUT = Path(__file__).parent.parent / "results" / "training-vgg16"
BATCH, STEPS, ROUNDS = (2, 1, 1) if quick() else (16, 2, 2)
VARIANTS = ("visible part", "masked")


def measure(variant: str) -> dict[str, float]:
    """Seconds of each step after the first, FLOPs of one image, and this process's peak memory."""
    model = masked_vgg16()
    gen = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH, 3, 224, 224), generator=gen, dtype=torch.uint8)
    source = ArraySource(images, torch.arange(BATCH))
    data = TrainingData("noise", source, source, model.preprocessing, model.class_names or ())
    recipe = Recipe(batch=BATCH, visible_only=variant != "masked", precision="no")
    trainer = Trainer(model, data, recipe, workers=0)
    with FlopCounterMode(display=False) as counter:
        trainer.optimise(iter(trainer.train))
    seconds = []
    for _ in range(STEPS):
        batches = iter(trainer.train)
        begin = time.perf_counter()
        trainer.optimise(batches)
        seconds.append(time.perf_counter() - begin)
    return {
        "seconds": min(seconds),
        "flops_per_image": counter.get_total_flops() / BATCH,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "trained_weights": sum(p.numel() for p in trainer.part.parameters()),
    }


def main() -> None:
    rows = []
    for number in range(ROUNDS):
        for variant in VARIANTS:
            command = [sys.executable, __file__, variant]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append({"variant": variant, "round": number, **json.loads(done.stdout)})
            print(rows[-1])
    frame = pd.DataFrame(rows)
    best = frame.groupby("variant", sort=False).agg(
        seconds=("seconds", "median"),
        least=("seconds", "min"),
        greatest=("seconds", "max"),
        flops_per_image=("flops_per_image", "first"),
        peak_gib=("peak_gib", "max"),
        trained_weights=("trained_weights", "first"),
    )
    best["batch"] = BATCH
    print(best.to_string())
    ratio = best.loc["masked", "seconds"] / best.loc["visible part", "seconds"]
    print(f"the visible part trains {ratio:.2f} times faster")
    if quick():
        return
    runs.write_csv(OUT / "steps.csv", best, index=True)
    parameters = {"batch": BATCH, "steps": STEPS, "rounds": ROUNDS, "statistic": "median over "
                  "rounds of the fastest step; least and greatest beside it"}  # fmt: skip
    record = runs.manifest(
        parameters,
        seed=0,
        command="python benchmarks/train_visible.py",
        threads=torch.get_num_threads(),
        load_average=Path("/proc/loadavg").read_text().split()[:3]
        if Path("/proc/loadavg").exists()
        else None,
    )
    runs.write_json(OUT / "manifest.json", record)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
