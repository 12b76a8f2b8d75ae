"""Theorems about trained networks: what pooling does to GradCAM, and that weights have no place.

Maps are [V, P], channels by positions; sums are written out in float64.
"""

from collections.abc import Callable, Iterator
from functools import partial
from math import sqrt

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camwall import build_wall
from camwall.methods.cams import (
    corrected,
    first_component,
    gradcam,
    gradcam_elementwise,
    gradcam_pp,
    hirescam,
    layercam,
    weighted,
    xgradcam,
)
from tests.helpers.architectures import OTHERS, POOLED, SIZE, architecture, prepared

DRAWS = 1000
STEP = 1e-5  # of central differences

Head = Callable[[Tensor], Tensor]


def drawn(
    count: int = DRAWS, *, alike: bool = False
) -> Iterator[tuple[torch.Generator, Tensor, int, int]]:
    """A generator, random maps [1, V, h, w] after a ReLU, two positions; ``alike``: equal there."""
    for seed in range(count):
        gen = torch.Generator().manual_seed(seed)
        channels, height, width = (
            int(torch.randint(low, high, (), generator=gen))
            for low, high in ((1, 300), (1, 17), (2, 17))
        )
        maps = torch.randn(1, channels, height, width, generator=gen).relu()
        p, q = torch.randperm(height * width, generator=gen)[:2].tolist()
        if alike:
            maps.flatten(2)[:, :, q] = maps.flatten(2)[:, :, p]
        yield gen, maps, p, q


# ---------------------------------------------------------------------------------------------
# Place


def test_equal_activations_get_equal_values() -> None:
    """Bit for bit, in float32, for any weights; and the value is Σ_v α_v B_v."""
    for gen, maps, p, q in drawn(alike=True):
        weights = torch.randn(maps.shape[:2], generator=gen)
        found = weighted(weights, maps).flatten()
        assert torch.equal(found[p], found[q])
        columns = maps[0].flatten(1).double().numpy()
        expected = sum(float(a) * columns[v, p] for v, a in enumerate(weights[0]))
        assert abs(float(found[p]) - expected) <= 1e-5 * (1 + abs(expected))


ONE_A_CHANNEL = {
    "GradCAM": gradcam,
    "GradCAM++": gradcam_pp,
    "GradCAM++ (paper)": partial(gradcam_pp, eps=0.0),
    "XGradCAM": xgradcam,
    "EigenCAM": lambda maps, gradients: first_component(maps),
    "EigenCAM (corrected)": lambda maps, gradients: corrected(first_component(maps)),
    "EigenCAM (paper)": lambda maps, gradients: first_component(maps, centred=False),
}
AT_THE_POSITION = {
    "HiResCAM": hirescam,
    "LayerCAM": layercam,
    "GradCAMElementWise": gradcam_elementwise,
}


def test_methods_at_equal_activations() -> None:
    """One weight a channel: equal, bit for bit, whatever the gradient; at the position: not so."""
    apart = dict.fromkeys(AT_THE_POSITION, 0)
    for gen, maps, p, q in drawn(200 if SIZE == 64 else DRAWS, alike=True):
        gradients = torch.randn(maps.shape, generator=gen)
        gradients.flatten(2)[:, :, q] = 0  # a position that f does not read
        for name, method in ONE_A_CHANNEL.items():
            found = method(maps, gradients).flatten()
            assert torch.equal(found[p], found[q]), name
        for name, method in AT_THE_POSITION.items():
            found = method(maps, gradients).flatten()
            assert found[q] == 0, name
            apart[name] += bool(found[p] != 0)
    assert min(apart.values()) > 100, apart


def test_the_bound_before_the_cut_and_after() -> None:
    """|m_p − m_q| ≤ ‖α‖ ‖B_p − B_q‖, the same after a ReLU; equal for α along B_p − B_q."""
    for gen, maps, p, q in drawn():
        weights = torch.randn(maps.shape[:2], generator=gen).double()
        columns = maps.flatten(2)[0].double()
        gap = columns[:, p] - columns[:, q]
        bound = weights[0].norm() * gap.norm()
        found = weighted(weights, maps.double()).flatten()
        for shown in (found, found.relu()):
            assert (shown[p] - shown[q]).abs() <= bound + 1e-12
        tight = weighted(gap[None], maps.double()).flatten()
        assert abs(float(tight[p] - tight[q] - gap.square().sum())) <= 1e-9


def test_no_map_of_the_form_is_right_at_alike_cells() -> None:
    """The larger error at two alike cells is at least |t_p| / 2, which half-way between reaches."""
    for gen, maps, p, q in drawn(alike=True):
        wanted = float(torch.randn((), generator=gen))
        weights = torch.randn(maps.shape[:2], generator=gen).double()
        found = weighted(weights, maps.double()).flatten()
        error = max(abs(float(found[p]) - wanted), abs(float(found[q])))
        assert error >= abs(wanted) / 2 - 1e-12
        if found[p] != 0:
            found = weighted(weights * wanted / 2 / found[p], maps.double()).flatten()
            error = max(abs(float(found[p]) - wanted), abs(float(found[q])))
            assert abs(error - abs(wanted) / 2) <= 1e-9


def test_independent_activations_leave_every_map_open() -> None:
    """With independent columns some α gives any target; with two alike none comes nearer than
    |t_p − t_q| / √2."""
    gen = torch.Generator().manual_seed(0)
    for _ in range(DRAWS // 10):
        maps = torch.randn(40, 12, generator=gen).double().relu()
        target = torch.randn(12, generator=gen).double()
        alpha = np.linalg.lstsq(maps.T.numpy(), target.numpy(), rcond=None)[0]
        assert np.allclose(alpha @ maps.numpy(), target.numpy(), atol=1e-9)
        maps[:, 7] = maps[:, 3]
        alpha = np.linalg.lstsq(maps.T.numpy(), target.numpy(), rcond=None)[0]
        left = float(np.linalg.norm(alpha @ maps.numpy() - target.numpy()))
        assert abs(left - float((target[3] - target[7]).abs()) / sqrt(2)) <= 1e-9


# ---------------------------------------------------------------------------------------------
# Pooling


def of_gradient(head: Head, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Score, gradient, and the raw maps of GradCAM and HiResCAM [2, P] from the definitions."""
    at = maps.clone().requires_grad_()
    score = head(at)
    (gradient,) = torch.autograd.grad(score, at)
    grad = sum(gradient[v].mean() * maps[v] for v in range(len(maps)))
    hires = sum(gradient[v] * maps[v] for v in range(len(maps)))
    return score.detach(), gradient, torch.stack([grad, hires])  # type: ignore[list-item]


class Random:
    """Weights of heads on maps [V, P], in float64."""

    def __init__(self, seed: int, channels: int = 6, positions: int = 9) -> None:
        gen = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=gen, dtype=torch.double)

        self.maps = normal(channels, positions).relu() + 0.01 * normal(channels, positions).abs()
        self.line, self.bias = normal(channels), float(normal(1))
        self.first, self.second, self.query = normal(8, channels), normal(8), normal(channels)
        self.dense = normal(8, channels * positions)

    def heads(self) -> dict[str, Head]:
        """What networks end in, each from maps to one score."""
        norm = nn.LayerNorm(len(self.line), eps=0.0).double()
        return {
            "mean, linear": lambda b: self.line @ b.mean(1) + self.bias,
            "mean, norm, linear": lambda b: self.line @ norm(b.mean(1)) + self.bias,
            "mean, dense": lambda b: self.second @ F.silu(self.first @ b.mean(1) + 0.3) + self.bias,
            "sum, squared": lambda b: (self.line @ b.sum(1)).square() + self.bias,
            "max, linear": lambda b: self.line @ b.amax(1) + self.bias,
            "GeM, linear": lambda b: self.line @ b.pow(3).mean(1).pow(1 / 3) + self.bias,
            "attention, linear": lambda b: (
                self.line @ (b * (self.query @ b).softmax(0)).sum(1) + self.bias
            ),
            "dense": lambda b: self.second @ F.silu(self.dense @ b.flatten()) + self.bias,
            "ReLU, mean, linear": lambda b: self.line @ (b - 0.5).relu().mean(1) + self.bias,
        }


OF_THE_SUM = ("mean, linear", "mean, norm, linear", "mean, dense", "sum, squared")


def test_functions_of_the_sum() -> None:
    """f = g(Σ_p B_p): the gradient is one at all positions, raw GradCAM is raw HiResCAM."""
    for seed in range(DRAWS // len(OF_THE_SUM)):
        draw = Random(seed)
        for name in OF_THE_SUM:
            _, gradient, (grad, hires) = of_gradient(draw.heads()[name], draw.maps)
            assert torch.equal(gradient, gradient[:, :1].expand_as(gradient)), name
            torch.testing.assert_close(grad, hires, atol=1e-13, rtol=1e-12)
            batch = draw.maps[None, :, :, None], gradient[None, :, :, None]
            torch.testing.assert_close(gradcam(*batch), hirescam(*batch), atol=1e-13, rtol=1e-12)


@pytest.mark.parametrize("name", sorted(set(Random(0).heads()) - set(OF_THE_SUM)))
def test_functions_of_more_than_the_sum(name: str) -> None:
    """Max, GeM, attention, dense, a ReLU before the mean: another gradient, another map."""
    for seed in range(20):
        draw = Random(seed)
        _, gradient, (grad, hires) = of_gradient(draw.heads()[name], draw.maps)
        assert not torch.allclose(gradient, gradient[:, :1].expand_as(gradient))
        assert (grad - hires).norm() > 1e-3 * hires.norm()


def test_what_the_totals_differ_by() -> None:
    """Σ_p (HiResCAM − GradCAM) is how the score changes as the maps move away from their mean.

    So where they agree for all maps, f is constant on the way to the mean map: f = g(Σ_p B_p).
    """
    for seed in range(DRAWS // 9):
        draw = Random(seed)
        mean = draw.maps.mean(dim=1, keepdim=True)
        for name, head in draw.heads().items():
            _, _, (grad, hires) = of_gradient(head, draw.maps)
            ahead, back = (
                head(mean + scale * (draw.maps - mean)) for scale in (1 + STEP, 1 - STEP)
            )
            slope = (ahead - back) / (2 * STEP)
            torch.testing.assert_close((hires - grad).sum(), slope, atol=1e-6, rtol=1e-6)
            if name in OF_THE_SUM:
                torch.testing.assert_close(
                    head(draw.maps), head(mean.expand_as(draw.maps)), atol=1e-11, rtol=1e-11
                )


def crossed(maps: Tensor) -> Tensor:
    """A function of maps [3, 2] that knows more than their sum, of s = B₁ + B₂ and d = B₁ − B₂."""
    s, d = maps[:, 0] + maps[:, 1], maps[:, 0] - maps[:, 1]
    return (d[0] * s[1] - d[1] * s[0]) / (d[1] * s[2] - d[2] * s[1])


def test_why_the_converse_asks_for_the_mean_map() -> None:
    """On a ball without mean maps the two maps can agree everywhere, and f know positions."""
    centre = torch.tensor([[1.0, 1.0], [3.0, 1.0], [1.0, 4.0]], dtype=torch.double)
    gen = torch.Generator().manual_seed(0)
    for _ in range(DRAWS):
        step = torch.randn(3, 2, generator=gen, dtype=torch.double)
        maps = centre + 0.3 * step / step.norm()
        mean = maps.mean(dim=1, keepdim=True).expand_as(maps)
        assert (mean - centre).norm() > 0.3, "no mean map lies in the ball"
        _, gradient, (grad, hires) = of_gradient(crossed, maps)
        torch.testing.assert_close(grad, hires, atol=1e-10, rtol=1e-9)
        assert (gradient[:, 0] - gradient[:, 1]).norm() > 1e-2
        assert torch.isfinite(gradient).all()


def test_completeness() -> None:
    """An affine g: CAM over hw, with the score less the bias as its total. By Euler's theorem the
    total of HiResCAM is that for max and GeM too, and 0 after a norm."""
    for seed in range(DRAWS // 5):
        draw = Random(seed)
        heads = draw.heads()
        score, _, (grad, hires) = of_gradient(heads["mean, linear"], draw.maps)
        cam = draw.line @ draw.maps
        torch.testing.assert_close(hires, cam / draw.maps.shape[1])
        for found in (grad, hires):
            torch.testing.assert_close(found.sum(), score - draw.bias)
        for name in ("max, linear", "GeM, linear"):
            score, _, (grad, hires) = of_gradient(heads[name], draw.maps)
            torch.testing.assert_close(hires.sum(), score - draw.bias)
            assert abs(float(grad.sum() - score + draw.bias)) > 1e-6
        score, _, (_, hires) = of_gradient(heads["mean, norm, linear"], draw.maps)
        assert abs(float(hires.sum())) < 1e-9 * float(hires.abs().sum())
        for name in ("mean, norm, linear", "mean, dense", "attention, linear", "dense"):
            score, _, (_, hires) = of_gradient(heads[name], draw.maps)
            assert abs(float(hires.sum() - score + draw.bias)) > 1e-9, name


# ---------------------------------------------------------------------------------------------
# Networks


def ends(name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Of a random network without a wall: its last maps, their gradient, the top score."""
    network = architecture(name).double()
    gen = torch.Generator().manual_seed(1)
    images = prepared().normalize(torch.rand(2, 3, SIZE, SIZE, generator=gen)).double()
    layer = build_wall(network, SIZE // 2, preprocessing=prepared()).layer
    with torch.no_grad():
        output = layer.output(network, images)
        maps = layer.maps(output, (SIZE, SIZE)).clone()
    at = maps.clone().requires_grad_()
    scores = layer.run(network, images, lambda given: layer.put(given, at.clone()))
    unit = int(scores[0].argmax())
    (gradient,) = torch.autograd.grad(scores[:, unit].sum(), at)
    dense = [module for module in network.modules() if isinstance(module, nn.Linear)]
    bias = dense[-1].bias[unit] if dense else 0.0
    return maps, gradient, (scores[:, unit] - bias).detach()


@pytest.mark.parametrize("name", POOLED)
def test_pooled_networks(name: str) -> None:
    """One gradient for all positions and one map; complete where the pooled maps meet one linear
    layer, and not where a norm or more layers come between."""
    maps, gradient, score = ends(name)
    flat = gradient.flatten(2)
    assert torch.equal(flat, flat[:, :, :1].expand_as(flat))
    grad, hires = gradcam(maps, gradient), hirescam(maps, gradient)
    torch.testing.assert_close(grad, hires, atol=1e-12, rtol=1e-10)
    total = hires.sum(dim=(1, 2))
    if name == "convnext_tiny":
        assert (total.abs() < 1e-3 * hires.abs().sum(dim=(1, 2))).all()
        assert (score.abs() > 100 * total.abs()).all()
    elif name == "mobilenet_v3_small":
        assert ((total - score).abs() > 1e-3 * score.abs()).all()
    else:
        torch.testing.assert_close(total, score, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("name", OTHERS)
def test_networks_that_tell_positions_apart(name: str) -> None:
    """Dense layers, a ReLU between maps and mean, a class token: GradCAM is not HiResCAM."""
    maps, gradient, _ = ends(name)
    flat = gradient.flatten(2)
    assert not torch.allclose(flat, flat[:, :, :1].expand_as(flat))
    grad, hires = gradcam(maps, gradient), hirescam(maps, gradient)
    assert (grad - hires).norm() > 1e-2 * hires.norm()


def test_densenet_after_its_relu() -> None:
    """DenseNet's maps are those that the ReLU after `features` gives: there GradCAM is CAM."""
    network = architecture("densenet121").double()
    whole = nn.Sequential(
        network.features, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), network.classifier
    )
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        assert torch.equal(whole(images), network(images))
        maps = whole[:2](images)
    maps.requires_grad_()
    scores = whole[2:](maps)
    (gradient,) = torch.autograd.grad(scores[:, 3].sum(), maps)
    cam = torch.einsum("v,nvhw->nhw", network.classifier.weight[3], maps) / maps[0, 0].numel()
    for found in (gradcam(maps, gradient), hirescam(maps, gradient)):
        torch.testing.assert_close(found, cam)
        torch.testing.assert_close(found.sum((1, 2)), scores[:, 3] - network.classifier.bias[3])
