"""The saliency methods once more, from their papers' equations: slowly, in float64.

Nothing of camwall's engine is used: the whole image goes through the whole network, and every sum
is a loop or one line of numpy. Where the package grad-cam adds a constant, its oracle adds it too.
"""

from collections.abc import Callable
from math import exp, floor

import numpy as np
import torch
from torch import Tensor

from camwall.models import WalledModel

Array = np.ndarray


def forward(model: WalledModel, image: Tensor) -> Array:
    """Scores of one image [C, H, W] through the whole network."""
    with torch.no_grad():
        return model(image[None])[0].numpy()


def maps_and_gradient(model: WalledModel, image: Tensor, unit: int) -> tuple[Array, Array]:
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
) -> Callable[[WalledModel, Tensor, int], Array]:
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


def xgradcam(maps: Array, gradient: Array) -> Array:
    """Fu et al. 2020, equation 8."""
    return combine(
        [float((g * b).sum() / (b.sum() + 1e-7)) for g, b in zip(gradient, maps, strict=True)], maps
    )


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


def ablationcam(model: WalledModel, image: Tensor, unit: int, *, absolute: bool = False) -> Array:
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


def scorecam(model: WalledModel, image: Tensor, unit: int, *, align_corners: bool = True) -> Array:
    """Wang et al. 2020, algorithm 1, with grad-cam's softmax over channels of the raw scores."""
    with torch.no_grad():
        maps = model.features(image[None])[0].numpy()
    rows, columns = image.shape[1:]
    scores = []
    for one in maps:
        mask = bilinear(one, rows, columns, align_corners=align_corners)
        mask = (mask - mask.min()) / (mask.max() - mask.min() + 1e-8)
        scores.append(float(forward(model, image * torch.from_numpy(mask))[unit]))
    exponentials = [exp(score - max(scores)) for score in scores]
    return combine([e / sum(exponentials) for e in exponentials], maps)


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
        mask = sum(share[v] * large[v] for v in range(len(maps)))
        mask = (mask - mask.min()) / (mask.max() - mask.min())
        score = model(((pixels * mask - mean) / std)[None])[0, unit]
        (gradient,) = torch.autograd.grad(-score, point)
        g = gradient.numpy()
        first = 0.9 * first + 0.1 * g
        second = 0.999 * second + 0.001 * g**2
        w -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    weights = np.exp(w) / np.exp(w).sum()
    return combine(list(weights), maps)


Oracle = Callable[[WalledModel, Tensor, int], Array]

ORACLES: dict[str, Oracle] = {
    "GradCAM": of_gradient(gradcam),
    "GradCAM++": of_gradient(lambda b, g: gradcam_pp(b, g, 1e-6)),
    "GradCAM++ (paper)": of_gradient(lambda b, g: gradcam_pp(b, g, 0.0)),
    "XGradCAM": of_gradient(xgradcam),
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
    "AblationCAM (absolute)": lambda m, x, c: ablationcam(m, x, c, absolute=True),
    "ScoreCAM": scorecam,
    "ScoreCAM (half-pixel)": lambda m, x, c: scorecam(m, x, c, align_corners=False),
    "Opti-CAM": opticam,
}
