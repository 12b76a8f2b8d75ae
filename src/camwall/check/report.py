"""From records to the table: means with their uncertainty, and the levels to read them by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from camwall.check import folder as files
from camwall.check.gallery import Gallery
from camwall.check.verdicts import FINDINGS, VERDICT, judged
from camwall.errors import CamwallError, check_list, check_path, extra, in_one_line
from camwall.methods import METHODS, Engine
from camwall.wall import Wall

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESAMPLES = 10_000

#: Columns of the table that are no metric's: none can have their name.
OF_TABLE = ("mean", "std", "low", "high", "clear", "images", "moved", "repainted", "verdict")
#: How many of the images that moved most `Report.verdicts` names.
NAMED = 3


def bootstrap(
    values: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    weights: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of values [N] under resampling.

    Whole ``groups`` [N] are drawn: images that share a visible half do not vary independently. The
    values count alike, or by their ``weights`` [N]. NaN for fewer than two groups, which tell
    nothing of others; CamwallError for a value without a group, which would drop out, and for what
    is no list of finite numbers, or of another length.
    """
    with in_one_line("values must be a list of finite numbers", "leave out or mend the others"):
        values = np.asarray(check_list("values", values), float)
        if values.ndim != 1 or not np.isfinite(values).all():
            raise ValueError(f"not {values!r:.100}")
    for name, each in {"groups": groups, "weights": weights}.items():
        if each is not None and len(check_list(name, each)) != len(values):
            raise CamwallError(
                f"{name} must be a list of {len(values)}, one for each of the values"
            )
    if groups is not None and (lost := int(pd.isna(pd.Series(groups)).sum())):
        raise CamwallError(
            f"{lost} of {len(groups)} images have no group and would drop out of the interval: "
            "give each image a group, or none"
        )
    members = np.arange(len(values)) if groups is None else groups
    sizes = np.ones(len(values)) if weights is None else weights
    sums = pd.DataFrame({"sum": sizes * values, "size": sizes}).groupby(members).sum().to_numpy()
    if len(sums) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    block = max(1, 2**20 // len(sums))  # resamples at a time, so that memory stays flat
    means = []
    for start in range(0, resamples, block):
        drawn = rng.integers(len(sums), size=(min(block, resamples - start), len(sums)))
        total, size = sums[drawn].sum(axis=1).T
        means.append(total / size)
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def columns(metric: str) -> tuple[str, str, str]:
    """A metric's columns of a table: the mean, and its interval's two ends."""
    leaks = ("mean", "low", "high")
    return leaks if metric == "leak" else (metric, f"{metric}_low", f"{metric}_high")


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes
    ----------
    records : DataFrame
        One row for each image and method: ``image``, ``method``, ``target``, each metric by its
        name (``response``, ``leak`` and ``leak_clear``, bleed left out, are NaN where they were
        not asked for), ``empty``, ``prediction``, ``seconds``, ``group`` of images that share a
        visible half, ``rank`` of the image's label among the scores where it has one, ``repaint``
        that moved the map most, ``mechanism`` by which the register says that the method sees
        through, and what `camwall.metrics.experiments` found.
    wall : Wall
    methods : tuple of str
        In the order of the table.
    random_level : float
        The mean leak of maps that are noise.
    identity : dict
        What was checked: digests of model and images, metrics, engine.
    gallery : dict
        Small pictures of the first images and their maps, see `camwall.check.gallery`.
    """

    records: pd.DataFrame
    wall: Wall
    methods: tuple[str, ...]
    random_level: float
    identity: dict[str, Any]
    gallery: Gallery = field(default_factory=dict)

    @property
    def flat_level(self) -> float:
        """The leak of a constant map."""
        return self.wall.flat_level

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for each method; leaks, responses and other metrics as fractions.

        ``mean``, ``std`` (unbiased) and the 95 % bootstrap interval ``low`` to ``high`` of the mean
        leak over images (over groups, where images share a visible half); ``clear``, the mean with
        the bleed left out; ``empty``, the number of images whose map is zero everywhere, which
        count in no mean; ``images``, the number in all; ``response``, with its interval
        ``response_low`` to ``response_high``, and so every other metric by its name, over the
        images that have it; ``moved``, the number of images whose map any repaint moved, of
        ``repainted`` that were; ``verdict``, see `VERDICTS`, where both metrics were asked for.
        """
        rows = []
        for method in self.methods:
            records = self.records[self.records["method"] == method]
            kept = records[~records["empty"]]
            row: dict[str, Any] = {"method": method}
            for metric in ("leak", "response", *self._others):
                has = kept[kept[metric].notna()]
                interval = bootstrap(has[metric].to_numpy(), has["group"].to_numpy())
                row |= zip(columns(metric), (has[metric].mean(), *interval), strict=True)
            row["std"] = kept["leak"].std(ddof=1)
            row["clear"] = kept["leak_clear"].mean()
            row["empty"], row["images"] = len(records) - len(kept), len(records)
            row["moved"] = int((records["response"] > 0).sum())
            row["repainted"] = int(records["response"].notna().sum())
            row["verdict"] = judged(records)[0]
            rows.append(row)
        return pd.DataFrame(rows).set_index("method")

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """One row for each method: the verdict, its cause, and the figures that they rest on.

        Numbers are fractions, and NaN where they were not measured.

        ``verdict``
            One of `VERDICTS`.
        ``cause``
            Of a method that looks behind the wall its mechanism, as the register says; of one that
            points there without looking what an experiment told, one of `CAUSES`; missing of one
            that is blind.
        ``response``, ``response_low``, ``response_high``
            The mean over images with its 95 % interval; ``moved``, the number of images whose map
            any repaint moved, of ``repainted`` that were; ``repaints``, which repaint moved the
            most, with the number of images in which it did; ``most``, the images that moved most.
        ``leak``, ``leak_low``, ``leak_high``
            Likewise of the leak; ``clear``, the mean with the bleed left out.
        ``on_grid``, ``retreated``, ``agreed``, ``uneven``, ``by_chance``
            Means of what the experiments found on the ``tried`` images that they were made on: see
            `camwall.metrics.experiments.Findings`.
        """
        table, rows = self.table, {}
        for method in self.methods:
            records, row = self.records[self.records["method"] == method], table.loc[method]
            moved = records[records["response"] > 0].sort_values("response", ascending=False)
            by_repaint = moved.reindex(columns=["repaint"])["repaint"].value_counts()
            found = records.reindex(columns=[*FINDINGS]).astype(float)
            verdict, cause = judged(records)
            rows[method] = {
                "verdict": verdict,
                "cause": cause,
                **row[[*columns("response"), "moved", "repainted"]],
                "repaints": ", ".join(f"{name} {n}" for name, n in by_repaint.items()),
                "most": ", ".join(moved["image"][:NAMED]),
                **dict(
                    zip(("leak", "leak_low", "leak_high"), row[[*columns("leak")]], strict=True)
                ),
                "clear": row["clear"],
                "tried": int(found.notna().any(axis=1).sum()),
                **found.mean(),
            }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")

    @property
    def _others(self) -> list[str]:
        """The metrics beyond the verdict's."""
        return [name for name in self.identity.get("metrics", ()) if name not in VERDICT]

    @property
    def accuracy(self) -> dict[str, float]:
        """The share of labelled images whose label is the top score, and among the top five."""
        if "rank" not in self.records or self.records["rank"].isna().all():
            raise CamwallError("the images carry no labels: there is no accuracy to report")
        ranks = self.records.drop_duplicates("image")["rank"].dropna()
        return {"top1": float((ranks == 0).mean()), "top5": float((ranks < 5).mean())}

    @property
    def formatted(self) -> pd.DataFrame:
        """The table as it is printed: the verdict, then response and leak in %, to a tenth.

        A metric stands with its 95 % interval in brackets, but a leak with its standard deviation,
        the 95 % interval of its mean beside it.
        """
        table = self.table
        said = (100 * table.select_dtypes("float")).map("{:.1f}".format).replace("nan", "–")

        def between(metric: str) -> pd.Series:
            _, low, high = columns(metric)
            return said[low] + "–" + said[high]

        def with_interval(metric: str) -> pd.Series:
            return (said[metric] + " (" + between(metric) + ")").where(table[metric].notna(), "–")

        told = {}
        if (asked := table["response"].notna()).any():
            still = asked & (table["moved"] == 0)
            told["response, %"] = with_interval("response").mask(still, "0 exactly")
        told["leak, %"] = said["mean"] + " ± " + said["std"]
        told["of its mean, %"], told["no bleed, %"] = between("leak"), said["clear"]
        told["empty"] = table["empty"].astype(str) + "/" + table["images"].astype(str)
        told |= {f"{metric}, %": with_interval(metric) for metric in self._others}
        # An entry stays on one line.
        frame = pd.DataFrame(told).replace(" ", "\N{NO-BREAK SPACE}", regex=True)
        if table["verdict"].notna().any():
            frame.insert(0, "verdict", table["verdict"].fillna("–"))
        return frame

    def __str__(self) -> str:
        layer = self.identity.get("layer", "a layer that the record does not name")
        return (
            f"{self.formatted.to_string()}\n"
            f"flat map {100 * self.flat_level:.1f} %, random map {100 * self.random_level:.1f} %, "
            f"hidden: {self.wall}; maps of {layer}"
        )

    def plot(self) -> "Figure":
        """The distribution of the leaks of each method, with the flat and the random level."""
        with extra("plots"):
            from camwall.plots import leak_distribution

        return leak_distribution(
            self.records[~self.records["empty"]], self.methods, self.flat_level, self.random_level
        )

    @property
    def rank_correlations(self) -> dict[str, float]:
        """Spearman's of the mean leaks with the paper's, by its data set, over shared methods.

        Without HiResCAM, which is last by a theorem; NaN below three methods.
        """
        from camwall.check.beside import PUBLISHED, compare

        return {data: compare(self.table, data, without=["HiResCAM"])[1] for data in PUBLISHED}

    def save(
        self,
        folder: str | Path,
        manifest: Mapping[str, Any],
        *,
        tables: Mapping[str, pd.DataFrame] = MappingProxyType({}),
    ) -> Path:
        """Write the report's files in one step: without ``manifest.json``, written last, no report.

        ``table.csv``, ``verdicts.csv``, ``records.csv``, ``gallery.json`` and ``report.html``, one
        page that stands alone; without the extra ``plots`` there is a warning in the page's place.

        Parameters
        ----------
        folder : path
        manifest : mapping
            How the report came to be (`camwall.runs.manifest`). The page shows its ``command``,
            ``certificate``, ``versions``, ``commit`` and ``date``.
        tables : file name → DataFrame, optional
            What else belongs to it, as CSV.
        """
        folder = check_path("a report's folder", folder)
        files.save(self, folder, manifest, tables)
        return folder

    @staticmethod
    def load(folder: str | Path) -> "Report":
        """Read a report that `save` wrote.

        Raises
        ------
        CamwallError
            No report, a damaged one, or files that do not belong together.
        """
        return Report(**files.load(check_path("a report's folder", folder)))


def default_methods(engine: Engine = "camwall") -> list[str]:
    """Every method the engine has, without the variants.

    EigenCAM's are among them all the same: its sign is arbitrary, and decides its row.
    """
    kept = [m for m in METHODS.values() if m.variant_of in (None, "EigenCAM")]
    return [m.name for m in kept if (m.raw if engine == "camwall" else engine in m.packages)]
