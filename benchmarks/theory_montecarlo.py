"""How much faster than a loop over networks the vectorised Monte Carlo draws GradCAM's values.

    python benchmarks/theory_montecarlo.py

The loop does what one would write first: for each network draw the parameters, run convolution,
ReLU, pooling and dense layer, differentiate with autograd, average the gradient, and read GradCAM
at one hidden position. It uses torch's functional calls and no modules, which would cost more.
Beside it stand ``draw_networks``, which has whole networks with all their maps and gradients, and
``simulate_gradcam``, which draws only what the position needs. All are timed in turn in one
process, on one thread; ratios are of the time for one network.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F

from camwall import theory
from camwall.runs import manifest, write_csv, write_json

ROOT = Path(__file__).resolve().parents[1]
SETTING = theory.Setting(image_rows=10, image_columns=10, visible_rows=2)
PLACE, TAU = (7, 2), 0.7


def loop(image: torch.Tensor, filters: int, networks: int, seed: int) -> list[float]:
    """GradCAM at the place in each of ``networks`` networks, one after the other."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = SETTING.pooled_shape
    values = []
    for _ in range(networks):
        bank = TAU * torch.randn(filters, 1, SETTING.kernel, SETTING.kernel, generator=generator)
        weights = TAU * torch.randn(filters, rows, columns, generator=generator)
        weights[:, SETTING.visible_rows :] = 0
        maps = torch.relu(F.conv2d(image[None, None], bank)).requires_grad_()
        score = (F.max_pool2d(maps, SETTING.pool)[0] * weights).sum()
        (gradient,) = torch.autograd.grad(score, maps)
        alpha = gradient.mean((2, 3), keepdim=True)
        values.append(float(torch.relu((alpha * maps).sum(1))[0, *PLACE].detach()))
    return values


def whole(image: torch.Tensor, filters: int, networks: int, seed: int) -> list[torch.Tensor]:
    """The same from whole networks, with the maps and gradients of all positions."""
    request = {"filters": filters, "tau": TAU, "networks": networks, "seed": seed}
    return [
        torch.relu((nets.gradients.mean((2, 3)) * nets.maps[:, :, *PLACE]).sum(1))
        for nets in theory.draw_networks(SETTING, image, **request)
    ]


def place_alone(image: torch.Tensor, filters: int, networks: int, seed: int) -> torch.Tensor:
    """The same, drawing only what the place needs."""
    request = {"filters": filters, "tau": TAU, "networks": networks, "seed": seed}
    walls = [SETTING.visible_rows]
    return theory.simulate_gradcam(SETTING, image, places=[PLACE], walls=walls, **request)


#: What is timed, with the number of networks that one run of it draws.
SAMPLERS: dict[str, tuple[Callable[..., object], int]] = {
    "loop": (loop, 500),
    "draw_networks": (whole, 4_000),
    "simulate_gradcam": (place_alone, 20_000),
}


def seconds(run: Callable[..., object], *arguments: object) -> float:
    """Processor time of one call, on one thread; what else the machine does counts for little."""
    start = time.process_time()
    run(*arguments)
    return time.process_time() - start


def compare(filters: int, repeats: int, image: torch.Tensor) -> list[dict[str, object]]:
    """One row for each sampler: median microseconds a network and the ratios to the loop's."""
    taken: dict[str, list[float]] = {name: [] for name in SAMPLERS}
    for repeat in range(repeats + 1):
        for name, (run, networks) in SAMPLERS.items():
            taken[name].append(seconds(run, image, filters, networks, repeat) / networks)
    rows: list[dict[str, object]] = []
    for name, values in taken.items():
        pairs = zip(taken["loop"][1:], values[1:], strict=True)  # the first warms up
        ratios = [slow / fast for slow, fast in pairs]
        rows.append(
            {
                "filters": filters,
                "sampler": name,
                "microseconds": 1e6 * statistics.median(values[1:]),
                "ratio": statistics.median(ratios),
                "ratio_low": min(ratios),
                "ratio_high": max(ratios),
                "runs": repeats,
                "networks": SAMPLERS[name][1],
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--filters", type=int, nargs="+", default=[1, 4, 32, 256])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "theorem-speed")
    args = parser.parse_args()
    torch.set_num_threads(1)
    image = torch.rand(10, 10, generator=torch.Generator().manual_seed(5))
    rows: list[dict[str, object]] = []
    for filters in args.filters:
        rows += compare(filters, args.repeats, image)
        print(pd.DataFrame(rows[-len(SAMPLERS) :]).round(1).to_string(index=False), flush=True)
    parameters = {"filters": args.filters, "repeats": args.repeats}
    about = manifest(  # before anything is written: it says whether the tree is clean
        parameters | {"threads": torch.get_num_threads(), "tau": TAU, "place": PLACE},
        seed=0,
        command=" ".join(["python benchmarks/theory_montecarlo.py", *sys.argv[1:]]),
    )
    write_csv(args.out / "speed.csv", pd.DataFrame(rows))
    write_json(args.out / "manifest.json", about)


if __name__ == "__main__":
    main()
