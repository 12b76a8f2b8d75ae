"""Time and memory of training steps of the paper's VGG16: its visible part, and all of it masked.

Memory is measured in a process for each variant, time in one process, in turns, so that a change
of the machine's load meets both. Writes ``results/training-vgg16/``. About four minutes on two
cores:

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
BATCH, ROUNDS = (2, 1) if quick() else (16, 5)
VARIANTS = ("visible part", "masked")


def prepare(variant: str) -> Trainer:
    """The paper's network on a batch of noise, ready to take steps."""
    model = masked_vgg16()
    gen = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH, 3, 224, 224), generator=gen, dtype=torch.uint8)
    source = ArraySource(images, torch.arange(BATCH))
    data = TrainingData("noise", source, source, model.preprocessing, model.class_names or ())
    recipe = Recipe(batch=BATCH, visible_only=variant != "masked", precision="no")
    return Trainer(model, data, recipe, workers=0)


def step(trainer: Trainer) -> float:
    """Seconds of one step: crop the batch, forward, backward, optimiser, wall."""
    batches = iter(trainer.train)
    begin = time.perf_counter()
    trainer.optimise(batches)
    return time.perf_counter() - begin


def weigh(variant: str) -> dict[str, float]:
    """FLOPs of one image in a step, and this process's peak memory, which is the variant's own."""
    trainer = prepare(variant)
    with FlopCounterMode(display=False) as counter:
        step(trainer)
    return {
        "flops_per_image": counter.get_total_flops() / BATCH,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "trained_weights": sum(p.numel() for p in trainer.part.parameters()),
    }


def main() -> None:
    rows = {}
    for variant in VARIANTS:
        command = [sys.executable, __file__, variant]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows[variant] = json.loads(done.stdout)
        print(variant, rows[variant])
    trainers = {variant: prepare(variant) for variant in VARIANTS}
    seconds = pd.DataFrame(
        [{variant: step(trainers[variant]) for variant in VARIANTS} for _ in range(ROUNDS + 1)]
    ).iloc[1:]  # the first round warms up
    print(seconds.to_string())
    ratios = seconds["masked"] / seconds["visible part"]
    frame = pd.DataFrame(
        [
            {
                "variant": variant,
                "seconds": seconds[variant].median(),
                "least": seconds[variant].min(),
                "greatest": seconds[variant].max(),
                "batch": BATCH,
                **rows[variant],
            }
            for variant in VARIANTS
        ]
    )
    print(frame.to_string(index=False))
    print(
        f"the visible part trains {ratios.median():.2f} times faster "
        f"({ratios.min():.2f} to {ratios.max():.2f})"
    )
    if quick():
        return
    runs.write_csv(OUT / "steps.csv", frame)
    record = runs.manifest(
        {"batch": BATCH, "rounds": ROUNDS, "statistic": "median over rounds, after one to warm up"},
        seed=0,
        command="python benchmarks/train_visible.py",
        threads=torch.get_num_threads(),
        ratio={"median": ratios.median(), "least": ratios.min(), "greatest": ratios.max()},
    )
    runs.write_json(OUT / "manifest.json", record)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(weigh(sys.argv[1])))
    else:
        main()
