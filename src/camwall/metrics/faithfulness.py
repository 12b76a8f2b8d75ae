"""Does a map say what the score is made of? Completeness, deletion and insertion, sensitivity."""

from collections.abc import Sequence

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as tv

from camwall.methods import METHODS, Evidence, Saliency
from camwall.methods.cams import hirescam
from camwall.metrics.metric import Metric
from camwall.models import fill, without_wall

#: Shares of the visible pixels, at equal steps, at which a score is asked for.
STEPS = 10
#: The blur that insertion begins with: side and σ of its kernel in pixels, as its authors'.
BLUR = 11, 5.0


def completeness_error(evidence: Evidence, maps: Saliency) -> Tensor:
    """|Σ_p m_p − (y − y₀)| / |y − y₀| of raw maps m, y the score and y₀ that of maps B = 0.

    0 for a map that is a decomposition of the score. NaN of methods without raw maps, and where the
    maps bring nothing.
    """
    if maps.raw is None:
        return torch.full((len(evidence.images),), torch.nan)
    zero = torch.zeros_like(evidence.maps[:1])
    nothing = [evidence.scores_at(zero, i)[0] for i in range(len(evidence.images))]
    brought = evidence.target_scores(evidence.scores - torch.stack(nothing))
    return (maps.raw.sum(dim=(1, 2)) - brought).abs() / brought.abs().where(brought != 0, torch.nan)


def distance(evidence: Evidence, maps: Saliency) -> Tensor:
    """√(1 − cos²) of the map m and HiResCAM's h, min over c ≥ 0 of ‖c·m − h‖₂ / ‖h‖₂: in [0, 1].

    Raw maps, before negative values are cut; of a method without them, the map as it is, with h
    resized. NaN where either is empty.
    """
    plain = evidence.once("HiResCAM", lambda: hirescam(evidence.maps, evidence.gradients).detach())
    found, wanted = maps.raw, plain
    if found is None:
        found = maps.cut
        wanted = F.interpolate(plain[:, None], found.shape[1:], mode="bilinear")[:, 0]
    both = [values.detach().cpu().double().flatten(1) for values in (found, wanted)]
    lengths = both[0].norm(dim=1) * both[1].norm(dim=1)
    cosine = (both[0] * both[1]).sum(dim=1) / lengths.where(lengths > 0, torch.nan)
    return (1 - cosine.clamp(min=0).square()).clamp(min=0).sqrt()


def distances(
    network: nn.Module,
    layers: Sequence[str | None],
    images: Tensor,
    methods: Sequence[str],
) -> pd.DataFrame:
    """`distance` of methods at layers of a network without a wall, the mean over images.

    Parameters
    ----------
    network, layers
        As `camwall.build_wall` takes them, None for its default.
    images : tensor [N, C, H, W]
        Each explained for its top class.
    methods : sequence of str

    Returns
    -------
    DataFrame
        A row for each ``layer``, a column for each method.
    """
    rows = {}
    for layer in layers:
        model = without_wall(network, images.shape[2] // 2, layer)
        with torch.no_grad():
            evidence = Evidence(model, images)
        rows[model.layer.name] = {
            name: float(DISTANCE(evidence, Saliency(evidence, METHODS[name])).nanmean())
            for name in methods
        }
    return pd.DataFrame(rows).T.rename_axis("layer")


def _along(evidence: Evidence, maps: Saliency, before: Tensor, after: Tensor) -> Tensor:
    """The target's mean probability as visible pixels turn from ``before`` into ``after``, [N].

    In the order of the map, those of equal value at random; by the trapezoid rule.
    """
    visible = ~evidence.model.wall.hidden.flatten().to(before.device)
    count = int(visible.sum())
    ends = torch.linspace(0, count, STEPS + 1, device=before.device).round()
    found = []
    for i, each in enumerate(maps.shown.flatten(1)):
        shuffled = torch.randperm(count).to(each.device)
        order = shuffled[each[visible][shuffled].argsort(descending=True, stable=True)]
        rank = torch.empty_like(order)
        rank[order] = torch.arange(count, device=each.device)
        turned = torch.zeros(STEPS + 1, *visible.shape, dtype=torch.bool, device=each.device)
        turned[:, visible] = rank < ends[:, None]
        turned = turned.view(-1, 1, *evidence.images.shape[2:])
        images = torch.where(turned, after[i : i + 1], before[i : i + 1])
        scores = evidence.scores_of([images])
        chances = evidence.target_scores(scores.softmax(dim=1), i)
        found.append(torch.trapezoid(chances, dx=1 / STEPS))
    return torch.stack(found)


def deletion(evidence: Evidence, maps: Saliency) -> Tensor:
    """The target's mean probability while pixels become 0 in the network's input, highest first.

    Small where the map finds first what the score hangs on (Petsiuk et al., 2018). Visible pixels
    alone: the others move no score.
    """
    return _along(evidence, maps, evidence.images, torch.zeros_like(evidence.images))


def insertion(evidence: Evidence, maps: Saliency) -> Tensor:
    """The target's mean probability while pixels come back into a blurred image, highest first.

    Large where the map finds first what the score hangs on (Petsiuk et al., 2018). The blur sees
    no hidden pixel.
    """
    model, images = evidence.model, evidence.images
    plain = fill("mean", images, model.wall, model.preprocessing)
    blurred = tv.gaussian_blur(plain, [BLUR[0]] * 2, [BLUR[1]] * 2)
    return _along(evidence, maps, blurred, images)


def class_sensitivity(evidence: Evidence, maps: Saliency) -> Tensor:
    """1 − cos of the map and that of the best other class, before resizing; NaN where one is empty.

    0 for a method that gives every class the same map.
    """

    def asked_for_another() -> Evidence:
        scores = evidence.scores.detach().clone()
        scores.scatter_(1, evidence.target[:, None], -torch.inf)
        return Evidence(evidence.model, evidence.images, scores.argmax(dim=1))

    other = Saliency(evidence.once("another class", asked_for_another), maps.method)
    both = [values.cpu().double().flatten(1) for values in (maps.cut, other.cut)]
    lengths = both[0].norm(dim=1) * both[1].norm(dim=1)
    return 1 - (both[0] * both[1]).sum(dim=1) / lengths.where(lengths > 0, torch.nan)


DISTANCE = Metric(
    "distance",
    "how far the map is from gradient times activation, the best factor between them allowed",
    distance,
)
FAITHFULNESS = (
    DISTANCE,
    Metric(
        "completeness_error",
        "how far the map's sum is from what the maps bring to the score, in units of that",
        completeness_error,
    ),
    Metric(
        "deletion",
        "the class's mean probability while visible pixels are deleted, the map's highest first",
        deletion,
        reference="petsiuk2018rise",
    ),
    Metric(
        "insertion",
        "the class's mean probability while visible pixels are inserted, the map's highest first",
        insertion,
        reference="petsiuk2018rise",
    ),
    Metric(
        "class_sensitivity",
        "how far the map turns when the best other class is asked for, 1 − cos",
        class_sensitivity,
    ),
)
