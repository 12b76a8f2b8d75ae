"""Images per second and core: our data pipeline beside torchvision's ImageFolder.

``CAMWALL_IMAGENET`` names a folder of class folders; without it, JPEGs of smooth noise stand in,
at ImageNet's mean size of 500×375. One process, one thread, in turns. Writes
``results/training-pipeline/``:

    CAMWALL_IMAGENET=FOLDER python benchmarks/train_pipeline.py
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms as tf
from torchvision.datasets import ImageFolder

from camwall import runs
from camwall.config import quick
from camwall.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from camwall.train.loading import Batches, Samples, Schedule, pack
from camwall.train.recipe import Recipe
from camwall.train.shrink import shrink_folder
from camwall.train.sources import FolderSource

OUT = Path(__file__).parent.parent / "results" / "training-pipeline"
BATCH, ROUNDS, STAND_INS = (8, 1, 16) if quick() else (32, 5, 192)


def stand_ins(folder: Path) -> Path:
    """Smooth noise of ImageNet's mean size, as JPEGs in two class folders."""
    rng = np.random.default_rng(0)
    for i in range(STAND_INS):
        small = rng.integers(0, 256, (47, 63, 3), dtype=np.uint8)
        target = folder / f"class{i % 2}" / f"{i}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(small).resize((500, 375), Image.Resampling.BICUBIC).save(target, quality=95)
    return folder


def plain(folder: Path, recipe: Recipe) -> Callable[[], int]:
    """torchvision's loader: decode, crop, resize, flip, to float, normalise, all in the worker."""
    steps = tf.Compose(
        [
            tf.RandomResizedCrop(224, scale=recipe.crop_area, ratio=recipe.crop_aspect),
            tf.RandomHorizontalFlip(),
            tf.ToTensor(),
            tf.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    loader = DataLoader(ImageFolder(str(folder), steps), BATCH, shuffle=True)
    return lambda: sum(len(labels) for _, labels in loader)


def worker(folder: Path, recipe: Recipe) -> Callable[[], int]:
    """Our worker's part: decode, crop, pack as bytes."""
    source = FolderSource(folder)
    loader = DataLoader(
        Samples(source, recipe),
        batch_sampler=Schedule(len(source), BATCH, seed=0),  # type: ignore[arg-type]
        collate_fn=pack,
    )
    return lambda: sum(len(packed.labels) for packed in loader)


def whole(folder: Path, recipe: Recipe) -> Callable[[], int]:
    """Our whole pipeline with the device's part (resize, flip, normalise) on the same core."""
    source = FolderSource(folder)
    schedule = Schedule(len(source), BATCH, seed=0)
    batches = Batches(source, Preprocessing(), schedule, recipe, torch.device("cpu"))
    return lambda: sum(len(labels) for _, labels in batches)


def main() -> None:
    torch.set_num_threads(1)
    recipe = Recipe()
    with tempfile.TemporaryDirectory() as scratch:
        given = os.environ.get("CAMWALL_IMAGENET")
        folder = Path(given) if given else stand_ins(Path(scratch) / "images")
        small = Path(scratch) / "small"
        begin = time.perf_counter()
        count = sum(shrink_folder(folder, small, progress=False))
        shrinking = count / (time.perf_counter() - begin)
        pipelines = {
            "torchvision ImageFolder": plain(folder, recipe),
            "ours, worker": worker(folder, recipe),
            "ours, worker and device part": whole(folder, recipe),
            "torchvision ImageFolder, shrunk": plain(small, recipe),
            "ours, worker, shrunk": worker(small, recipe),
            "ours, worker and device part, shrunk": whole(small, recipe),
        }
        rates: dict[str, list[float]] = {name: [] for name in pipelines}
        for _ in range(ROUNDS):
            for name, run in pipelines.items():
                begin = time.process_time()
                seen = run()
                rates[name].append(seen / (time.process_time() - begin))
        weigh = (
            [f.stat().st_size for f in folder.glob("*/*")],
            [f.stat().st_size for f in small.glob("*/*")],
        )
        sizes = np.array([Image.open(file).size for file in sorted(folder.glob("*/*"))])
    rows = [
        {
            "pipeline": name,
            "images_per_second_and_core": statistics.median(values),
            "least": min(values),
            "greatest": max(values),
        }
        for name, values in rates.items()
    ]
    frame = pd.DataFrame(rows)
    print(frame.to_string(index=False))
    print(f"shrinking: {shrinking:.0f} images per second and core")
    if quick():
        return
    runs.write_csv(OUT / "pipeline.csv", frame)
    record = runs.manifest(
        {"batch": BATCH, "rounds": ROUNDS, "statistic": "median over rounds, of CPU time"},
        seed=0,
        command=("CAMWALL_IMAGENET=FOLDER " if given else "")
        + "python benchmarks/train_pipeline.py",
        images={
            "what": "a folder of photographs" if given else "smooth noise",
            "count": len(sizes),
            "mean_width": float(sizes[:, 0].mean()),
            "mean_height": float(sizes[:, 1].mean()),
            "mean_bytes": statistics.mean(weigh[0]),
            "mean_bytes_shrunk": statistics.mean(weigh[1]),
        },
        shrinking_images_per_second=shrinking,
    )
    runs.write_json(OUT / "manifest.json", record)


if __name__ == "__main__":
    main()
