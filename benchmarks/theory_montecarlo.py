"""How much faster than a loop over networks the vectorised Monte Carlo draws GradCAM's values.

    OMP_NUM_THREADS=1 python benchmarks/theory_montecarlo.py

The loop does what one would write first: for each network draw the parameters, run convolution,
ReLU, pooling and dense layer, differentiate with autograd, average the gradient, and read GradCAM
at one hidden position. It uses torch's functional calls and no modules, which would cost more.
Both are timed in turn in one process; ratios are of the time for one network.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F

from camwall import theory

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


def seconds(run, *arguments, **keywords) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    run(*arguments, **keywords)
    return time.perf_counter() - start


def main() -> None:
    """Print one line for each number of filters."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--filters", type=int, nargs="+", default=[1, 4, 32, 256])
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    image = torch.rand(10, 10, generator=torch.Generator().manual_seed(5))
    print(f"threads {torch.get_num_threads()}, torch {torch.__version__}")
    print("filters  loop µs/network  vectorised µs/network  ratio: median (min to max)")
    for filters in arguments.filters:
        few, many = 500, 20_000
        request = {
            "filters": filters,
            "tau": TAU,
            "places": [PLACE],
            "walls": [SETTING.visible_rows],
            "networks": many,
        }
        loops, vectors = [], []
        for repeat in range(arguments.repeats + 1):  # the first of each warms up
            loops.append(seconds(loop, image, filters, few, repeat) / few)
            vectors.append(
                seconds(theory.simulate_gradcam, SETTING, image, seed=repeat, **request) / many
            )
        pairs = list(zip(loops[1:], vectors[1:], strict=True))
        ratios = [slow / fast for slow, fast in pairs]
        print(
            f"{filters:7d}  {1e6 * statistics.median(loops[1:]):15.1f}  "
            f"{1e6 * statistics.median(vectors[1:]):21.3f}  "
            f"{statistics.median(ratios):6.0f} ({min(ratios):.0f} to {max(ratios):.0f})"
        )


if __name__ == "__main__":
    main()
