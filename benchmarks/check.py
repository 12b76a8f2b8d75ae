"""A whole check of STACK-OPEN against a plain loop over grad-cam with the same measures.

    python benchmarks/check.py      # both constructions, every method but ScoreCAM and Opti-CAM

The check reads the files, finds leaks and responses, and makes its report. The loop calls grad-cam
as its manual says, one object a method, on each image and on each of its repaints, from images that
are loaded and repainted already. It has fewer methods (the package has no variants, and its
AblationCAM alone would take minutes a stack: benchmarks/engine.py compares that), and is run on
fewer stacks: its seconds are per stack.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import pandas as pd
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from camwall import METHODS, WalledModel, build_wall, check, config, efficientnet_lite0, stacks
from camwall.check import default_methods
from camwall.metrics import REPAINTS, change, leak, repaint
from camwall.runs import manifest, write_csv, write_json

ROOT = Path(__file__).resolve().parents[1]
SLOW = ("ScoreCAM", "Opti-CAM")


def loop(model: WalledModel, images: Tensor, methods: list[str]) -> None:
    """Leak and response of the package's methods, image by image."""
    painted = [repaint(name, model, images, images.roll(-1, 0)) for name in REPAINTS]
    for name in methods:
        cls = getattr(pytorch_grad_cam, METHODS[name].packages.get("grad-cam", ""))
        for index in range(len(images)):
            one = images[index : index + 1]
            with torch.no_grad():
                target = [ClassifierOutputTarget(int(model(one).argmax()))]
            with cls(model, [model.target_layer]) as cam:
                found = torch.from_numpy(cam(one, target))
                leak(found, model.wall)
                for others in painted:
                    change(found, torch.from_numpy(cam(others[index : index + 1], target)))
    model.zero_grad(set_to_none=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100, help="stacks of the check")
    parser.add_argument("--loop", type=int, default=6, help="stacks of the loop")
    parser.add_argument("--repeats", type=int, default=3, help="checks; their median is taken")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "check-speed")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    some = stacks.open(config.cache_dir() / "stack-open", n=100, seed=0).head(args.n)
    ours = [name for name in default_methods() if name not in SLOW]
    theirs = [
        name for name in ours if "grad-cam" in METHODS[name].packages and name != "AblationCAM"
    ]
    rows = []
    for construction in ("whole", "apart"):
        model = build_wall(efficientnet_lite0(), 160, construction=construction)  # type: ignore[arg-type]
        check(model, some.head(1), ours, progress=False)  # warm up
        taken = []
        for _ in range(args.repeats):
            start = time.perf_counter()
            check(model, some, ours, progress=False)
            taken.append(time.perf_counter() - start)
        row: dict[str, object] = {
            "construction": construction,
            "check_seconds": (ours_seconds := sorted(taken)[len(taken) // 2]),
            "check_low": min(taken),
            "check_high": max(taken),
            "methods": len(ours),
        }
        images = model.preprocessing.load(some.paths[: args.loop])
        start = time.perf_counter()
        loop(model, images, theirs)
        each = (time.perf_counter() - start) / len(images)
        row |= {
            "loop_methods": len(theirs),
            "loop_seconds_a_stack": each,
            "ratio": each * len(some) / ours_seconds,
        }
        rows.append(row)
        print(row, flush=True)
    write_csv(args.out / "speed.csv", pd.DataFrame(rows))
    parameters = {key: value for key, value in vars(args).items() if key != "out"}
    write_json(
        args.out / "manifest.json",
        manifest(
            parameters,
            command=" ".join(["python benchmarks/check.py", *sys.argv[1:]]),
            load_average=os.getloadavg(),
        ),
    )


if __name__ == "__main__":
    main()
