"""The live wall of the first page: computed here, moved by the reader in the browser.

What is shipped are pictures, scores and raw maps on their own small grid; the script
``live-wall.js`` renders the maps and measures leaks and responses as `camwall.methods.render`,
`camwall.leak` and `camwall.metrics.change` do.
"""

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from string import ascii_letters, digits
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from IPython.display import HTML
from PIL import Image
from torch import Tensor, nn

from camwall.check import Report
from camwall.errors import BlindnessError, CamwallError
from camwall.images import read_image
from camwall.methods import Evidence, Saliency, chosen
from camwall.models import WalledModel, build_wall, fill
from camwall.plots.style import SALIENCY_CMAP, WALL_COLOUR
from camwall.stacks import Stacks
from camwall.stacks.cutouts import VARIANTS
from camwall.wall import Wall

#: What one pass gives for all; ScoreCAM and Opti-CAM take hundreds.
METHODS = (
    "GradCAM",
    "GradCAM++",
    "XGradCAM",
    "AblationCAM",
    "EigenCAM",
    "EigenGradCAM",
    "LayerCAM",
    "HiResCAM",
)
#: A number from 0 to `LEVELS` is two of these.
DIGITS = ascii_letters + digits + "+-"
LEVELS = len(DIGITS) ** 2 - 1
_TOP = 5  # classes whose scores are shown


@dataclass(frozen=True)
class Case:
    """Stacks that share a visible half, with what stands behind their wall in every variant.

    Attributes
    ----------
    images : Stacks
        With a wall that hides the bottom or the right.
    group : int
        Their number in ``images``.
    leaks : array [N]
        GradCAM's recorded leak on each of ``images``: how typical this one is.
    """

    images: Stacks
    group: int
    leaks: np.ndarray

    def row(self, variant: str) -> int:
        """Which of the images has the variant."""
        frame = self.images.frame
        (row,) = np.flatnonzero((frame["group"] == self.group) & (frame["variant"] == variant))
        return int(row)

    @property
    def cut(self) -> tuple[int, int]:
        """The axis that the wall cuts, and where."""
        cut = None if self.images.wall is None else self.images.wall.cut
        if cut is None or not cut[2]:
            raise CamwallError("the live wall takes stacks whose bottom or right is hidden")
        return cut[:2]


def spread(
    images: Stacks, report: Report, quantiles: Iterable[float], first: str | None = None
) -> list[Case]:
    """Cases at quantiles of the leaks with the same species behind the wall.

    Leaks are GradCAM's. Chosen from are the stacks whose visible animal the network names.

    Parameters
    ----------
    images : Stacks
        STACK-OPEN, in all variants.
    report : Report
        Of a check of GradCAM on them.
    quantiles
        Of those leaks; each takes the nearest case that is left.
    first : str, optional
        A visible species whose case comes before these, wherever its leak lies.
    """
    records = report.records[report.records["method"] == "GradCAM"].set_index("image")
    of_image = records.reindex([path.name for path in images.paths])
    own = of_image["leak"].to_numpy()
    frame = images.frame.assign(leak=own)
    named = frame[(of_image["rank"] == 0).to_numpy()]
    complete = named.groupby("group")["variant"].transform("nunique") == len(VARIANTS)
    same = named[complete & (named["variant"] == "same")].set_index("group")["leak"]
    chosen = [int(frame[frame["visible_species"] == first]["group"].iloc[0])] if first else []
    for quantile in quantiles:
        left = same.drop(chosen, errors="ignore")
        nearest = np.abs(left.to_numpy() - same.quantile(quantile)).argmin()
        chosen.append(int(left.index.to_numpy()[nearest]))
    return [Case(images, group, own) for group in chosen]


@dataclass
class _Maps:
    """Raw maps, each kept once: equal bit for bit means one number."""

    numbers: dict[bytes, int] = field(default_factory=dict)
    largest: list[float] = field(default_factory=list)
    values: list[str] = field(default_factory=list)

    def put(self, raw: Tensor) -> int:
        key = raw.numpy().tobytes()
        if key not in self.numbers:
            self.numbers[key] = len(self.numbers)
            most = float(raw.max())
            level = np.rint(raw.numpy().ravel() * (LEVELS / most if most else 0.0)).astype(int)
            pairs = zip(level // len(DIGITS), level % len(DIGITS), strict=True)
            self.largest.append(float(f"{most:.7g}"))
            self.values.append("".join(DIGITS[high] + DIGITS[low] for high, low in pairs))
        return self.numbers[key]


def live_wall(network: nn.Module, cases: Sequence[Case], walls: Sequence[int]) -> HTML:
    """The page's section with the live wall, which starts with the first of the cases.

    Without JavaScript it is not shown.

    Parameters
    ----------
    network : torch.nn.Module
        Walled here by `build_wall`, once for each of the walls; its head averages over cells.
    cases : sequence of Case
    walls : sequence of int
        First hidden rows, or columns, that the reader can choose; the cases' own among them.

    Raises
    ------
    BlindnessError
        What stands behind a wall moves a score.
    CamwallError
        A network whose gradient is not the same at all visible cells, as the dial needs it.
    """
    side = 224
    make = (Wall.rows, Wall.columns)
    models = {
        (axis, at): build_wall(network, make[axis](side, side, at))
        for axis in {case.cut[0] for case in cases}
        for at in walls
    }
    model = next(iter(models.values()))
    maps, noise = _Maps(), {}
    shown = []
    for case in cases:
        axis, at = case.cut
        images, pictures = _pictures(case, model)
        noise[axis] = pictures.pop("noise")
        under = [_under(models[axis, at_], images, maps, at_ <= at) for at_ in walls]
        shown.append({**_told(case), "axis": axis, "at": at, **pictures, "walls": under})
    data = {
        "side": side,
        "grid": list(model.visible_cells.shape),
        "walls": list(walls),
        "methods": described(METHODS),
        "cases": shown,
        "noise": noise,
        "digits": DIGITS,
        "maps": "".join(maps.values),
        "largest": maps.largest,
        "colours": palette(),
        "wall": WALL_COLOUR,
    }
    without = "The wall here is moved by JavaScript, which is off; the figure below stands still."
    return section("live-wall", "The live wall", data, "live-wall", without)


def _pictures(case: Case, model: WalledModel) -> tuple[Tensor, dict[str, Any]]:
    """The network's inputs in every variant and with noise, and both sides as small pictures."""
    axis, at = case.cut
    assert case.images.wall is not None
    paths = [case.images.paths[case.row(variant)] for variant in VARIANTS]
    images = model.preprocessing.load(paths)
    noise = fill("noise", images[:1], case.images.wall, model.preprocessing)
    pixels = (255 * model.preprocessing.denormalize(noise[0])).round().clamp(0, 255)
    whole = [read_image(path, "RGB") for path in paths]
    whole.append(Image.fromarray(pixels.permute(1, 2, 0).numpy().astype(np.uint8)))
    width, height = whole[0].size
    seen = (0, 0, width, at) if axis == 0 else (0, 0, at, height)
    rest = (0, at, width, height) if axis == 0 else (at, 0, width, height)
    *behind, noisy = (webp(picture.crop(rest)) for picture in whole)
    pictures = {"visible": webp(whole[0].crop(seen)), "hidden": behind, "noise": noisy}
    return torch.cat([images, noise]), pictures


def palette() -> str:
    """The 256 colours of saliency, as hexadecimal digits."""
    colours = 255 * mpl.colormaps[SALIENCY_CMAP](np.arange(256))[:, :3]
    return colours.round().astype(np.uint8).tobytes().hex()


def described(methods: Sequence[str]) -> list[dict[str, Any]]:
    """Names of methods, and whether each sees through walls."""
    return [{"name": m.name, "sees": m.sees_through} for m in chosen(methods)]


def section(name: str, label: str, data: Any, script: str, without: str) -> HTML:
    """A page's section that a script of ``book/_static`` fills from data.

    ``name`` is its id, ``label`` for who hears the page, ``without`` what is said where there is no
    JavaScript.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    return HTML(
        f'<section id="{name}" class="live-wall" aria-label="{label}" hidden>'
        f'<script type="application/json">{text}</script></section>'
        '<script defer src="../_static/wall.js"></script>'
        f'<script defer src="../_static/{script}.js"></script>'
        f"<noscript><p>{without}</p></noscript>"
    )


def webp(picture: Image.Image) -> str:
    """A small picture, as an address that holds it."""
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=80, method=6)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _told(case: Case) -> dict[str, Any]:
    """What is said of a case: who stands where, and on how many stacks the method leaks less."""
    frame, same, other = case.images.frame, case.row("same"), case.row("other")
    return {
        "name": frame["visible_species"].iloc[same],
        "other": frame["hidden_species"].iloc[other],
        "below": int((case.leaks < case.leaks[same]).sum()),
        "of": len(case.leaks),
    }


def _under(model: WalledModel, images: Tensor, maps: _Maps, covered: bool) -> dict[str, Any]:
    """Scores and maps of one case's images behind a wall; ``covered``: it hides what differs."""
    with torch.no_grad():
        evidence = Evidence(model, images)
        raw = {m.name: Saliency(evidence, m).cut for m in chosen(METHODS)}
    at_visible = evidence.gradients[:, :, model.visible_cells]
    if not (at_visible == at_visible[..., :1]).all():
        raise CamwallError(
            "the dial of the live wall is drawn from GradCAM's map alone, as is right for a "
            "network whose head averages over cells; this one's gradient is not the same at all "
            "visible cells"
        )
    scores = evidence.scores.detach()
    if covered:  # each alone: threads share a batch out, and its places round differently
        with torch.no_grad():
            scores = torch.cat([model(one) for one in images.split(1)])
    if covered and not (scores == scores[0]).all():
        raise BlindnessError("what stands behind the live wall moves a score")
    prints = [hashlib.sha256(row.numpy().tobytes()).hexdigest()[:12] for row in scores]
    first = [prints.index(each) for each in prints]
    kept = sorted(set(first))
    return {
        "scores": [_scores(scores[i], prints[i], model.class_names) for i in kept],
        "which": [kept.index(i) for i in first],
        "maps": [[maps.put(raw[name][i]) for name in METHODS] for i in range(len(images))],
    }


def _scores(scores: Tensor, fingerprint: str, names: Sequence[str] | None) -> dict[str, Any]:
    """The highest scores in as many digits as tell float32 numbers apart, and a print of all."""
    shares = scores.softmax(dim=0)
    top = scores.argsort(descending=True)[:_TOP].tolist()
    return {
        "print": fingerprint,
        "count": len(scores),
        "top": [
            [
                str(i) if names is None else names[i],
                round(float(shares[i]), 4),
                str(np.float32(scores[i].item())),
            ]
            for i in top
        ],
    }
