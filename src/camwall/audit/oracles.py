"""The saliency methods once more, from their papers' equations: slowly, in float64.

Nothing of camwall's engine is used: the whole image goes through the whole network, and every sum
is a loop or one line of numpy. `ORACLES` follow our methods, with the constants that grad-cam adds;
`EQUATIONS` follow the papers, for implementations of any package.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import exp, floor
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camwall.models import WalledModel

Array = np.ndarray


class Cut(Protocol):
    """A network cut in two at its maps: scores = head(features(images))."""

    @property
    def features(self) -> Callable[[Tensor], Tensor]:
        """Images [N, C, H, W] to maps [N, V, h, w]."""

    @property
    def head(self) -> Callable[[Tensor], Tensor]:
        """Maps to scores [N, classes]."""

    def __call__(self, images: Tensor) -> Tensor:
        """Images to scores."""


def forward(model: Cut, image: Tensor) -> Array:
    """Scores of one image [C, H, W] through the whole network."""
    with torch.no_grad():
        return model(image[None])[0].numpy()


def maps_and_gradient(model: Cut, image: Tensor, unit: int) -> tuple[Array, Array]:
    """B and ∂y/∂B for one image, each [V, h, w]."""
    with torch.no_grad():
        maps = model.features(image[None])
    maps.requires_grad_()
    (gradient,) = torch.autograd.grad(model.head(maps.clone())[0, unit], maps)
    return maps.detach()[0].numpy(), gradient[0].numpy()


def combine(weights: list[float], maps: Array) -> Array:
    """Σ_v α_v B_v."""
    total = np.zeros(maps.shape[1:])
    for weight, one in zip(weights, maps, strict=True):
        total += weight * one
    return total


def of_gradient(
    rule: Callable[[Array, Array], Array],
) -> Callable[[Cut, Tensor, int], Array]:
    """A rule on (maps, gradient) as an oracle on (model, image, unit)."""
    return lambda model, image, unit: rule(*maps_and_gradient(model, image, unit))


def gradcam(maps: Array, gradient: Array) -> Array:
    """Selvaraju et al. 2017, equations 1 and 2."""
    height, width = maps.shape[1:]
    return combine([float(g.sum()) / (height * width) for g in gradient], maps)


def gradcam_pp(maps: Array, gradient: Array, eps: float) -> Array:
    """Chattopadhay et al. 2018, equations 5 and 19 (the score's exponential taken out)."""
    weights = []
    for one, g in zip(maps, gradient, strict=True):
        total, weight = float(one.sum()), 0.0
        for value in g.flat:
            if value > 0:
                weight += value**2 / (2 * value**2 + total * value**3 + eps) * value
        weights.append(weight)
    return combine(weights, maps)


def xgradcam(maps: Array, gradient: Array, eps: float) -> Array:
    """Fu et al. 2020, equation 8; a map without activation has no weight, and needs none."""
    weights = []
    for one, g in zip(maps, gradient, strict=True):
        total = float(one.sum()) + eps
        weights.append(float((g * one).sum()) / total if total else 0.0)
    return combine(weights, maps)


def hirescam(maps: Array, gradient: Array) -> Array:
    """Draelos and Carin 2020, equation 4."""
    _, height, width = maps.shape
    return np.array(
        [[sum(gradient[:, i, j] * maps[:, i, j]) for j in range(width)] for i in range(height)]
    )


def layercam(maps: Array, gradient: Array) -> Array:
    """Jiang et al. 2021, equations 5 and 6."""
    total = np.zeros(maps.shape[1:])
    for one, g in zip(maps, gradient, strict=True):
        total += np.where(g > 0, g, 0) * one
    return total


def elementwise(maps: Array, gradient: Array) -> Array:
    """grad-cam's GradCAMElementWise: products below 0 are left out."""
    products = gradient * maps
    return np.where(products > 0, products, 0).sum(axis=0)


def first_component(values: Array) -> Array:
    """The centred [hw, V] matrix on its first right singular vector, with LAPACK's sign."""
    channels, height, width = values.shape
    matrix = np.array([values[:, i, j] for i in range(height) for j in range(width)])
    for v in range(channels):
        matrix[:, v] -= matrix[:, v].sum() / len(matrix)
    axis = np.linalg.svd(matrix, full_matrices=True)[2][0]
    return (matrix @ axis).reshape(height, width)


def uncentred(maps: Array) -> Array:
    """Muhammad and Yeasin 2020, equations 5 and 6: activations on their first singular vector."""
    matrix = maps.reshape(len(maps), -1).T
    line = (matrix @ np.linalg.svd(matrix)[2][0]).reshape(maps.shape[1:])
    return line if line.sum() > 0 else -line  # of one sign, by Perron and Frobenius


def ablationcam(model: Cut, image: Tensor, unit: int, *, absolute: bool = False) -> Array:
    """Ramaswamy et al. 2020, equations 3 and 4: the head again without each channel."""
    with torch.no_grad():
        maps = model.features(image[None])
        score = float(model.head(maps.clone())[0, unit])
        weights = []
        for v in range(maps.shape[1]):
            ablated = maps.clone()
            ablated[0, v] = 0
            without = float(model.head(ablated)[0, unit])
            weights.append((score - without) / (abs(score) if absolute else score))
    return combine(weights, maps[0].numpy())


def bilinear(one: Array, rows: int, columns: int, *, align_corners: bool) -> Array:
    """Bilinear upsampling of one map [h, w], from the definition."""

    def place(index: int, size: int, out: int) -> tuple[int, int, float]:
        if align_corners:
            at = index * (size - 1) / (out - 1)
        else:
            at = max((index + 0.5) * size / out - 0.5, 0.0)
        low = min(floor(at), size - 1)
        return low, min(low + 1, size - 1), at - low

    height, width = one.shape
    result = np.empty((rows, columns))
    for y in range(rows):
        top, bottom, s = place(y, height, rows)
        for x in range(columns):
            left, right, t = place(x, width, columns)
            result[y, x] = (1 - s) * ((1 - t) * one[top, left] + t * one[top, right]) + s * (
                (1 - t) * one[bottom, left] + t * one[bottom, right]
            )
    return result


def masks_of(model: Cut, image: Tensor, *, align_corners: bool) -> list[Array]:
    """Each map of an image, upsampled to its size, then stretched to [0, 1]: [V] of [H, W]."""
    with torch.no_grad():
        maps = model.features(image[None])[0].numpy()
    large = [bilinear(one, *image.shape[1:], align_corners=align_corners) for one in maps]
    return [(one - one.min()) / (one.max() - one.min() + 1e-8) for one in large]


def softmax(scores: Sequence[float]) -> list[float]:
    exponentials = [exp(score - max(scores)) for score in scores]
    return [e / sum(exponentials) for e in exponentials]


def scorecam(
    model: Cut,
    image: Tensor,
    unit: int,
    *,
    align_corners: bool = True,
    probability: bool = False,
    masked: Callable[[Array], list[Array]] = lambda mask: [mask],
    shares: int = 1,
) -> Array:
    """Wang et al. 2020, algorithm 1, its softmax over channels.

    ``probability``: of the softmax over classes, as section 3.2 wants it; otherwise of the raw
    scores. ``masked`` gives the masks whose scores are summed for a channel, and divided by
    ``shares``.
    """
    scores = []
    for mask in masks_of(model, image, align_corners=align_corners):
        found = [forward(model, image * torch.from_numpy(each)) for each in masked(mask)]
        values = [softmax(each.tolist()) if probability else each.tolist() for each in found]
        scores.append(sum(each[unit] for each in values) / shares)
    with torch.no_grad():
        maps = model.features(image[None])[0].numpy()
    return combine(softmax(scores), maps)


def iscam(model: Cut, image: Tensor, unit: int, *, intervals: int = 10) -> Array:
    """Naidu et al. 2020: M_i = Σ_{j<i} (j/N) · mask for i = 0 … N, their scores summed over N."""

    def path(mask: Array) -> list[Array]:
        return [mask * sum(j / intervals for j in range(i)) for i in range(intervals + 1)]

    return scorecam(model, image, unit, align_corners=False, masked=path, shares=intervals)


def sscam(model: Cut, image: Tensor, unit: int, *, samples: int = 35, std: float = 2.0) -> Array:
    """Wang et al. 2020 (SS-CAM): masks plus noise, their scores averaged.

    The noise is drawn as torch-cam draws it, after ``torch.manual_seed(0)``.
    """
    with torch.no_grad():
        channels = model.features(image[None]).shape[1]
    torch.manual_seed(0)
    normal, shape = torch.distributions.Normal(0, std), (1, channels, *image.shape[1:])
    noise = torch.cat([normal.sample(shape) for _ in range(samples)]).transpose(0, 1).numpy()
    of_channel = iter(noise.astype(float))

    def noisy(mask: Array) -> list[Array]:
        return [mask + each for each in next(of_channel)]

    return scorecam(model, image, unit, align_corners=False, masked=noisy, shares=samples)


def smooth_gradcam_pp(
    model: Cut, image: Tensor, unit: int, *, samples: int = 4, std: float = 0.3
) -> Array:
    """Omeiza et al. 2019, the gradient's powers averaged over noisy copies; maps of the image.

    The numerator of α is the average square, as torch-cam declares, where the paper prints the
    average gradient. The noise is drawn as torch-cam draws it, after ``torch.manual_seed(0)``.
    """
    torch.manual_seed(0)
    gradients = []
    for _ in range(samples):
        noise = torch.distributions.Normal(0, std).sample(image[None].shape)[0]
        gradients.append(maps_and_gradient(model, image + noise.to(image), unit)[1])
    averages = [np.mean([g**power for g in gradients], axis=0) for power in (1, 2, 3)]
    maps, _ = maps_and_gradient(model, image, unit)
    weights = []
    for one, first, second, third in zip(maps, *averages, strict=True):
        denominator = 2 * second + one.sum() * third
        share = np.divide(second, denominator, np.zeros_like(second), where=denominator != 0)
        weights.append(float((share * np.maximum(first, 0)).sum()))
    return combine(weights, maps)


def _layers(model: Any) -> list[nn.Module]:
    """The layers of a network that is a chain of them."""
    return [module for module in model.modules() if not list(module.children())]


def _back(layer: nn.Module, at: Tensor, along: Tensor) -> Tensor:
    """What a layer's transposed derivative makes of ``along``."""
    at = at.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(layer(at), at, along)
    return gradient


def _backwards(
    model: Any,
    image: Tensor,
    start: Callable[[Tensor], Tensor],
    step: Callable[[nn.Module, Tensor, Tensor], Tensor],
) -> Array:
    """A signal that starts from the scores, layer by layer to the pixels: [C, H, W]."""
    values = [image[None]]
    with torch.no_grad():
        for layer in _layers(model):
            values.append(layer(values[-1]))
    signal = start(values.pop())
    for layer, before in zip(reversed(_layers(model)), reversed(values), strict=True):
        signal = step(layer, before, signal)
    return signal[0].detach().numpy()


def guided_backprop(model: Any, image: Tensor, unit: int) -> Array:
    """Springenberg et al. 2015: at a ReLU only what was positive and is positive passes."""

    def step(layer: nn.Module, before: Tensor, signal: Tensor) -> Tensor:
        signal = _back(layer, before, signal)
        return signal.clamp(min=0) if isinstance(layer, nn.ReLU) else signal

    return _backwards(model, image, partial(_one_hot, unit=unit), step)


def _one_hot(scores: Tensor, unit: int) -> Tensor:
    return F.one_hot(torch.tensor([unit]), scores.shape[1]).to(scores)


def lrp_epsilon(model: Any, image: Tensor, unit: int, *, eps: float = 1e-9) -> Array:
    """Bach et al. 2015, equation 58: relevance in proportion to a_i w_ij, the score at the end."""

    def step(layer: nn.Module, before: Tensor, signal: Tensor) -> Tensor:
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            return signal.reshape(before.shape)
        z = layer(before)
        return before * _back(layer, before, signal / (z + eps * (2 * (z >= 0) - 1)))

    return _backwards(model, image, lambda scores: scores * _one_hot(scores, unit), step)


def integrated_gradients(model: Any, image: Tensor, unit: int, *, steps: int = 4000) -> Array:
    """Sundararajan et al. 2017, equation 1, from black: the midpoint rule, fine."""
    along = (torch.arange(steps) + 0.5) / steps
    points = (along.to(image)[:, None, None, None] * image).requires_grad_()
    (gradient,) = torch.autograd.grad(model(points)[:, unit].sum(), points)
    return (gradient.mean(dim=0) * image).numpy()


def guided_gradcam(model: Any, image: Tensor, unit: int) -> Array:
    """Selvaraju et al. 2017, section 3.3: GradCAM, upsampled bilinearly, on guided backprop."""
    coarse = np.maximum(of_gradient(gradcam)(model, image, unit), 0)
    large = bilinear(coarse, *image.shape[1:], align_corners=False)
    return guided_backprop(model, image, unit) * large


def opticam(
    model: WalledModel, image: Tensor, unit: int, *, steps: int = 50, rate: float = 0.1
) -> Array:
    """Zhang et al. 2024, one image alone; Adam written out (Kingma and Ba 2015, algorithm 1)."""
    with torch.no_grad():
        maps = np.maximum(model.features(image[None])[0].numpy(), 0)
    rows, columns = image.shape[1:]
    large = torch.from_numpy(
        np.array([bilinear(one, rows, columns, align_corners=False) for one in maps])
    )
    mean = torch.tensor(model.preprocessing.mean, dtype=image.dtype).view(3, 1, 1)
    std = torch.tensor(model.preprocessing.std, dtype=image.dtype).view(3, 1, 1)
    pixels = image * std + mean
    w = np.zeros(len(maps))
    first, second = np.zeros_like(w), np.zeros_like(w)
    for step in range(1, steps + 1):
        point = torch.from_numpy(w.copy()).requires_grad_()
        share = point.exp() / point.exp().sum()
        mask = torch.stack([share[v] * large[v] for v in range(len(maps))]).sum(dim=0)
        mask = (mask - mask.min()) / (mask.max() - mask.min())
        score = model(((pixels * mask - mean) / std)[None])[0, unit]
        (gradient,) = torch.autograd.grad(-score, point)
        g = gradient.numpy()
        first = 0.9 * first + 0.1 * g
        second = 0.999 * second + 0.001 * g**2
        w -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    weights = np.exp(w) / np.exp(w).sum()
    return combine(list(weights), maps)


Oracle = Callable[[Any, Tensor, int], Array]

ORACLES: dict[str, Oracle] = {
    "GradCAM": of_gradient(gradcam),
    "GradCAM++": of_gradient(partial(gradcam_pp, eps=1e-6)),
    "GradCAM++ (paper)": of_gradient(partial(gradcam_pp, eps=0.0)),
    "XGradCAM": of_gradient(partial(xgradcam, eps=1e-7)),
    "HiResCAM": of_gradient(hirescam),
    "LayerCAM": of_gradient(layercam),
    "GradCAMElementWise": of_gradient(elementwise),
    "EigenGradCAM": of_gradient(lambda b, g: first_component(g * b)),
    "EigenCAM": of_gradient(lambda b, _: first_component(b)),
    "EigenCAM (flipped)": of_gradient(lambda b, _: -first_component(b)),
    "EigenCAM (corrected)": of_gradient(
        lambda b, _: max(first_component(b), -first_component(b), key=np.max)
    ),
    "EigenCAM (paper)": of_gradient(lambda b, _: uncentred(b)),
    "AblationCAM": ablationcam,
    "AblationCAM (absolute)": partial(ablationcam, absolute=True),
    "ScoreCAM": scorecam,
    "ScoreCAM (half-pixel)": partial(scorecam, align_corners=False),
    "Opti-CAM": opticam,
}

#: What the papers print, by the method's name: no constants, EigenCAM not centred.
EQUATIONS: dict[str, Oracle] = {
    name: ORACLES[name]
    for name in ("GradCAM", "HiResCAM", "LayerCAM", "GradCAMElementWise", "EigenGradCAM")
} | {
    "GradCAM++": ORACLES["GradCAM++ (paper)"],
    "XGradCAM": of_gradient(partial(xgradcam, eps=0.0)),
    "EigenCAM": ORACLES["EigenCAM (paper)"],
    "AblationCAM": ablationcam,
    "ScoreCAM": ORACLES["ScoreCAM (half-pixel)"],
    "ScoreCAM, of probabilities": partial(scorecam, align_corners=False, probability=True),
    "SS-CAM": sscam,
    "IS-CAM": iscam,
    "Smooth GradCAM++": smooth_gradcam_pp,
    "guided backpropagation": guided_backprop,
    "guided GradCAM": guided_gradcam,
    "integrated gradients": integrated_gradients,
    "LRP-ε": lrp_epsilon,
}
