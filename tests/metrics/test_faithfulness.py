"""Completeness, deletion, insertion, class sensitivity, localisation: by hand and by slow loops."""

from itertools import pairwise
from math import exp

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as tv

import camwall
from camwall.methods import METHODS, Evidence, Saliency, chosen
from camwall.methods.cams import gradcam, hirescam
from camwall.metrics import METRICS
from camwall.metrics.faithfulness import BLUR, STEPS
from camwall.models import Preprocessing, WalledModel, without_wall
from tests.helpers.checks import small_model, some_images

ROW = 2


class Sums(nn.Module):
    """Scores Σ_p B_p and 0 of one map."""

    def forward(self, maps: Tensor) -> Tensor:
        total = maps.sum(dim=(1, 2, 3))
        return torch.stack([total, torch.zeros_like(total)], dim=1)


def summing() -> WalledModel:
    """Images of 4×4 whose map is themselves, hidden from row 2; p = 1 / (1 + exp(−Σ visible))."""
    same = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.ones_(same.weight)
    plain = Preprocessing((0.0,), (1.0,), resize=None, crop=4)
    return camwall.build_wall(nn.Sequential(same, Sums()), ROW, same, preprocessing=plain)


def measured(name: str, model: WalledModel, images: Tensor, method, **annotations) -> Tensor:
    with torch.no_grad():
        evidence = Evidence(model, images, 0)
        evidence.annotations = annotations
        return METRICS[name](evidence, Saliency(evidence, chosen(method)[0]))


def pixels(values: list[float]) -> Tensor:
    """Eight visible pixels, and eight hidden ones of 9."""
    return torch.cat([torch.tensor(values), torch.full((8,), 9.0)]).view(1, 1, 4, 4)


def itself(model, images, target):
    """The image as its map."""
    return images[:, 0]


def negative(model, images, target):
    return 10 - images[:, 0]


#: Of 8 pixels, how many are turned at the shares 0, 0.1, …, 1.
TURNED = (0, 1, 2, 2, 3, 4, 5, 6, 6, 7, 8)
VALUES = [0.5, -1.0, 0.25, 2.0, -0.5, 1.0, 0.0, 0.75]


def by_hand(ordered: list[float]) -> float:
    chances = [1 / (1 + exp(-sum(ordered[k:]))) for k in TURNED]
    return sum((a + b) / 2 for a, b in pairwise(chances)) / STEPS


def test_deletion_by_hand() -> None:
    """The area under p as pixels go, largest first; the hidden ones, larger still, do not count."""
    highest = sorted(VALUES, reverse=True)
    found = measured("deletion", summing(), pixels(VALUES), itself)
    torch.testing.assert_close(found, torch.tensor([by_hand(highest)]))
    found = measured("deletion", summing(), pixels(VALUES), negative)
    torch.testing.assert_close(found, torch.tensor([by_hand(highest[::-1])]))
    assert by_hand(highest) < by_hand(highest[::-1])


def test_deletion_of_a_constant_map_is_of_a_random_order() -> None:
    """And of the same one each time."""
    flat = lambda model, images, target: torch.ones(len(images), 4, 4)  # noqa: E731
    found = [measured("deletion", summing(), pixels(VALUES), flat) for _ in range(2)]
    assert torch.equal(*found)
    highest = sorted(VALUES, reverse=True)
    assert by_hand(highest) < found[0] < by_hand(highest[::-1])


def brightness(model, images, target):
    """No two pixels of noise alike."""
    return images.sum(dim=1)


@pytest.mark.parametrize("name", ["deletion", "insertion"])
def test_curves_by_a_slow_loop(name: str) -> None:
    """Pixel by pixel, the whole model each time; the hidden pixels move nothing."""
    model, images = small_model().double(), some_images(2).double()
    maps = brightness(model, images, 0)
    filled = torch.where(model.wall.hidden, 0.0, images)
    visible = (~model.wall.hidden).sum()
    mean = filled.sum(dim=(2, 3), keepdim=True) / visible
    blurred = tv.gaussian_blur(
        torch.where(model.wall.hidden, mean, images), [BLUR[0]] * 2, [BLUR[1]] * 2
    )
    before, after = (images, torch.zeros_like(images)) if name == "deletion" else (blurred, images)
    wanted = []
    for i in range(2):
        order = maps[i][~model.wall.hidden].argsort(descending=True)
        assert len(maps[i][~model.wall.hidden].unique()) == visible  # no ties to break
        chances = []
        for step in range(STEPS + 1):
            image = before[i].clone()
            for place in order[: round(int(visible) * step / STEPS)].tolist():
                image[:, place // 16, place % 16] = after[i, :, place // 16, place % 16]
            chances.append(model(image[None]).softmax(dim=1)[0, 0])
        wanted.append(torch.trapezoid(torch.stack(chances), dx=1 / STEPS))
    found = measured(name, model, images, brightness)
    torch.testing.assert_close(found, torch.stack(wanted), atol=1e-12, rtol=0)
    repainted = torch.where(model.wall.hidden, 1 - images, images)
    before_after = [measured(name, model, x, "HiResCAM") for x in (images, repainted)]
    torch.testing.assert_close(*before_after, atol=1e-12, rtol=0)


def test_completeness() -> None:
    """HiResCAM decomposes a linear rest; GradCAM spreads it over all cells; functions have none."""
    model, images = small_model().double(), some_images(3).double()
    assert (measured("completeness_error", model, images, "HiResCAM") < 1e-12).all()
    raw = camwall.explain(model, images, "GradCAM", 0, normalize=False)
    with torch.no_grad():
        evidence = Evidence(model, images, 0)
        signed = Saliency(evidence, METHODS["GradCAM"]).raw
        bias = model.head(torch.zeros_like(evidence.maps))[:, 0]
    assert signed is not None
    torch.testing.assert_close(signed.clamp(min=0), raw)
    brought = evidence.scores[:, 0] - bias
    wanted = (signed.sum(dim=(1, 2)) - brought).abs() / brought.abs()
    torch.testing.assert_close(measured("completeness_error", model, images, "GradCAM"), wanted)
    assert (wanted > 0.01).all()
    assert measured("completeness_error", model, images, flat_map).isnan().all()


def test_distance_by_hand() -> None:
    """The sine of the angle to HiResCAM, 1 from a right angle on; 0 for any positive multiple."""
    model, images = small_model().double(), some_images(3).double()
    double = METHODS["HiResCAM"].variant(
        "double", "", lambda evidence: 2 * hirescam(evidence.maps, evidence.gradients)
    )
    assert (measured("distance", model, images, "HiResCAM") < 1e-7).all()
    assert (measured("distance", model, images, double) < 1e-7).all()
    with torch.no_grad():
        evidence = Evidence(model, images, 0)
    two = [f(evidence.maps, evidence.gradients).flatten(1).detach() for f in (gradcam, hirescam)]
    along = (two[0] * two[1]).sum(dim=1) / two[0].square().sum(dim=1)
    rest = (along[:, None] * two[0] - two[1]).norm(dim=1) / two[1].norm(dim=1)
    wanted = torch.where(along > 0, rest, 1.0)
    torch.testing.assert_close(measured("distance", model, images, "GradCAM"), wanted)
    assert (wanted > 0.1).all()
    against = METHODS["HiResCAM"].variant(
        "against", "", lambda evidence: -hirescam(evidence.maps, evidence.gradients)
    )
    assert (measured("distance", model, images, against) == 1).all()
    nothing = lambda model, images, target: torch.zeros(len(images), 16, 16)  # noqa: E731
    assert measured("distance", model, images, nothing).isnan().all()


def test_without_a_wall_gradcam_is_the_decomposition() -> None:
    """All cells visible, nothing painted: the network itself, whose head pools and is linear."""
    walled_network = small_model()
    network = nn.Sequential(*walled_network.trunk.children())
    model = without_wall(network, 8, "0", preprocessing=walled_network.preprocessing).double()
    images = some_images(3).double()
    assert torch.equal(model(images), network(images))
    for name in ("GradCAM", "HiResCAM"):
        assert (measured("distance", model, images, name) < 1e-7).all()
        assert (measured("completeness_error", model, images, name) < 1e-12).all()
    with pytest.raises(camwall.BlindnessError):
        camwall.certify(model)


def flat_map(model, images, target):
    return torch.ones(len(images), *images.shape[2:])


def test_class_sensitivity() -> None:
    """0 for what looks at no class, 1 − cos of the two raw maps else, NaN for an empty map."""
    model, images = small_model().double(), some_images(3).double()
    assert (measured("class_sensitivity", model, images, "EigenCAM").abs() < 1e-12).all()
    with torch.no_grad():
        scores = model(images)
    other = scores[:, 1:].argmax(dim=1) + 1
    maps = [
        camwall.explain(model, images, "HiResCAM", t, normalize=False).flatten(1)
        for t in (0, other)
    ]
    wanted = 1 - torch.cosine_similarity(*maps)
    found = measured("class_sensitivity", model, images, "HiResCAM")
    assert found.isfinite().any()
    torch.testing.assert_close(found[found.isfinite()], wanted[found.isfinite()])
    nothing = lambda model, images, target: torch.zeros(len(images), 16, 16)  # noqa: E731
    assert measured("class_sensitivity", model, images, nothing).isnan().all()


def test_localisation_by_hand() -> None:
    """Of a map 0…7 and 9s: half of a tie counts half."""
    values = [0.0, 1, 2, 3, 4, 5, 6, 7]
    outline = torch.zeros(4, 4, dtype=torch.bool)
    outline[1, 2:] = True  # 6 and 7
    outline[2:, :2] = True  # four of eight 9s
    for name, wanted in (("on_animal", (13 + 36) / (28 + 72)), ("pointing", 0.5)):
        found = measured(name, summing(), pixels(values), itself, outline=[outline])
        torch.testing.assert_close(found, torch.tensor([wanted]))
        empty = measured(name, summing(), torch.zeros(1, 1, 4, 4), itself, outline=[outline])
        assert empty.isnan().all()
