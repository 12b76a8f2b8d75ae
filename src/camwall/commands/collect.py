"""Several training runs of one study, masked and baseline, seed by seed, in tables side by side."""

from pathlib import Path

import numpy as np
import pandas as pd

from camwall.check.run import DEFAULT_METRICS, check
from camwall.errors import CamwallError, check_count, extra, in_one_line
from camwall.methods import METHODS, PAPER
from camwall.models.checkpoint import load_checkpoint
from camwall.runs import made, manifest, read_csv, read_json, write_csv, write_json
from camwall.train.probes import pair_stacks, telling
from camwall.train.studies import study
from camwall.wall import certify

#: The paper's methods, and the other rule that is exactly blind behind a wall.
COLLECTED = (*PAPER, "LayerCAM")


def collect_runs(
    folder: str | Path,
    out: str | Path,
    *,
    methods: tuple[str, ...] = COLLECTED,
    command: str | None = None,
) -> pd.DataFrame:
    """Join finished runs, and measure each network on the stacks that training followed.

    Parameters
    ----------
    folder : path
        Each folder in it that holds ``model.pt`` is a run of `camwall train`.
    out : path
        Gets ``metrics.csv`` (each epoch of each run), ``leaks.csv`` (each run's table),
        ``networks.csv`` (top-1 on the test images, and on the stacks for the visible image; what is
        returned) and ``manifest.json`` (the command and each run's manifest).
    methods : tuple of str
    command : str, optional
        For the manifest; by default this process's.

    Raises
    ------
    CamwallError
        No finished run, one that was cut off at its end, or runs of several studies; a masked
        network whose wall has a hole is a `BlindnessError`.
    """
    found = sorted(path.parent for path in Path(folder).glob("*/model.pt"))
    if not found:
        raise CamwallError(f"no finished run in {folder}: none of its folders holds a model.pt")
    for run in found:
        for file in ("manifest.json", "metrics.csv"):
            if not (run / file).is_file():
                raise CamwallError(f"{run} lacks its {file}: give its train command again")
    then = "give that run's train command again"
    manifests = [read_json(run / "manifest.json", then) for run in found]
    histories = [read_csv(run / "metrics.csv", then) for run in found]
    with in_one_line(f"a manifest in {folder} is of no training run", then):
        given = {(m["parameters"]["study"], m["parameters"]["data"]) for m in manifests}
        small = {bool(m["parameters"]["small"]) for m in manifests}
        several = [check_count("stacks", m["parameters"]["stacks"], 0) or 100 for m in manifests]
        seeds = [check_count("seed", m["seed"], 0) for m in manifests]
        if any("test_top1" not in history or history.empty for history in histories):
            raise ValueError("its metrics.csv has no test_top1")
    if len(given) > 1 or len(small) > 1:
        raise CamwallError(f"{folder} holds runs of several studies: collect each by itself")
    name, source = given.pop()
    out = made(out)
    data = study(name).load(source, small=small.pop())
    keys: list[tuple[str, int]] = []
    frames: dict[str, list[pd.DataFrame]] = {"metrics": [], "leaks": [], "networks": []}
    for run, history, seed, count in zip(found, histories, seeds, several, strict=True):
        model = load_checkpoint(run / "model.pt", certified=False)
        images, labels = pair_stacks(data.test, model, count)
        if model.masked:
            try:
                certify(model, telling(model, images)[0])
            except CamwallError as error:
                raise type(error)(f"{run}: {error}; leave this run out") from None
        measured = DEFAULT_METRICS if model.masked else ["leak"]  # nothing is hidden from the other
        report = check(
            model,
            images,
            [METHODS[method] for method in methods],
            metrics=measured,
            labels=labels.tolist(),
            batch=20,
            progress=False,
        )
        top1 = {"test_top1": history["test_top1"].iloc[-1], "stacks_top1": report.accuracy["top1"]}
        keys.append(("masked" if model.masked else "baseline", seed))
        frames["metrics"].append(history)
        frames["leaks"].append(report.table.reset_index())
        frames["networks"].append(pd.DataFrame([top1]))
    for file, of_runs in frames.items():
        joined = pd.concat(of_runs, keys=keys, names=["network", "seed"])
        joined = joined.reset_index(["network", "seed"]).reset_index(drop=True)
        write_csv(out / f"{file}.csv", joined)
    record = manifest({"study": name, "methods": list(methods)}, seed=0, command=command)
    write_json(out / "manifest.json", record | {"runs": manifests})
    return joined


def paired_leaks(leaks: pd.DataFrame, *, level: float = 0.95) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How much more of each method's map lies behind the wall for the baseline, seed by seed.

    Networks of one seed start from the same weights and meet the same images in the same order.

    Parameters
    ----------
    leaks : DataFrame
        ``leaks.csv`` of `collect_runs`.
    level : float
        Of the intervals, in (0, 1).

    Returns
    -------
    each : DataFrame with columns ``method``, ``seed``, ``difference``, ``error``
        Baseline less masked, in [-1, 1], and its standard error over the stacks, the two networks'
        taken as independent; ``low`` and ``high`` are this error to either side.
    means : DataFrame, indexed by method
        ``mean`` over the seeds, its ``error``, the interval ``low`` to ``high`` by Student's t
        distribution, and ``apart``: whether the interval leaves out 0.

    Raises
    ------
    CamwallError
        Fewer than two seeds with both networks.
    """
    squared = leaks["std"] ** 2 / (leaks["images"] - leaks["empty"])
    by_network = (
        leaks.assign(squared=squared)
        .pivot(index=["method", "seed"], columns="network", values=["mean", "squared"])
        .reindex(columns=pd.MultiIndex.from_product([["mean", "squared"], ["baseline", "masked"]]))
        .dropna()
    )
    mean, variance = by_network["mean"], by_network["squared"]
    apart = mean["baseline"] - mean["masked"]
    error = np.sqrt(variance["baseline"] + variance["masked"])
    columns = {"difference": apart, "error": error, "low": apart - error, "high": apart + error}
    each = pd.DataFrame(columns).reset_index()
    seeds = each.groupby("method")["seed"].nunique()
    if len(seeds) == 0 or seeds.min() < 2:
        raise CamwallError("a mean over seeds needs both networks of two seeds at least")
    order = [method for method in dict.fromkeys(leaks["method"]) if method in seeds]
    grouped = each.groupby("method")["difference"]
    means = pd.DataFrame({"mean": grouped.mean(), "error": grouped.sem()}).loc[order]
    with extra("theory"):
        from scipy import stats

    half = stats.t.ppf((1 + level) / 2, seeds[order] - 1) * means["error"]
    means = means.assign(low=means["mean"] - half, high=means["mean"] + half)
    means["apart"] = (means["low"] > 0) | (means["high"] < 0)
    each["method"] = pd.Categorical(each["method"], order)
    return each.sort_values(["method", "seed"], ignore_index=True), means


def percent(values: pd.Series, digits: int = 1) -> str:
    """The mean of fractions and its standard error, as ``12.3 ± 0.4``, in %."""
    found = values.to_numpy(float)
    return _percent(found.mean(), found.std(ddof=1) / np.sqrt(len(found)), digits)


def share(value: float, count: int, digits: int = 1) -> str:
    """A share of ``count`` independent cases and its standard error, as `percent` has them."""
    return _percent(value, np.sqrt(value * (1 - value) / count), digits)


def _percent(value: float, error: float, digits: int) -> str:
    found = f"{100 * value:.{digits}f} ± {100 * error:.{digits}f}"
    return found.replace("-", "\N{MINUS SIGN}")
