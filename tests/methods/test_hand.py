"""A network small enough for pencil and paper: every method's map as a literal array."""

from math import exp, sqrt

import pytest
import torch
from torch import Tensor, nn

from camwall import explain
from camwall.models import MaskedModel, Preprocessing

# Two 1×1 convolutions copy the image and its negative part: B₁ = ReLU(x), B₂ = ReLU(−x), on a
# 2×2 image. One dense unit for each class reads the first row only.
IMAGE = torch.tensor([[1.0, -2.0], [3.0, -4.0]])
MAPS = torch.tensor([[[1.0, 0.0], [3.0, 0.0]], [[0.0, 2.0], [0.0, 4.0]]])
# Class 0 has the weights [[2, 1], [0, 0]] on B₁ and [[1, -3], [0, 0]] on B₂, and the bias 8.
WEIGHTS = torch.tensor([[[2.0, 1.0], [0.0, 0.0]], [[1.0, -3.0], [0.0, 0.0]]])


def network() -> MaskedModel:
    features = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())
    head = nn.Sequential(nn.Flatten(), nn.Linear(8, 2))
    with torch.no_grad():
        features[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        features[0].bias.zero_()
        head[1].weight.copy_(torch.stack([WEIGHTS.flatten(), torch.zeros(8)]))
        head[1].bias.copy_(torch.tensor([8.0, 0.0]))
    preprocessing = Preprocessing((0.0,), (1.0,), None, 2)
    return MaskedModel(features, head, (2, 2, 2), 1, preprocessing, masked=True).double().eval()


# The score is 2·1 + 1·0 + 1·0 − 3·2 + 8 = 4.
EXPECTED = {
    # α₁ = 3/4, α₂ = −2/4.
    "GradCAM": [[0.75, 0.0], [2.25, 0.0]],
    # α₁ = (2·1 + 1·0) / 4 = 1/2, α₂ = (1·0 − 3·2) / 6 = −1.
    "XGradCAM": [[0.5, 0.0], [1.5, 0.0]],
    # G·B: [2, 0] and [0, −6] in the first row, nothing in the second.
    "HiResCAM": [[2.0, 0.0], [0.0, 0.0]],
    "LayerCAM": [[2.0, 0.0], [0.0, 0.0]],
    "GradCAMElementWise": [[2.0, 0.0], [0.0, 0.0]],
    # ΣB₁ = 4, ΣB₂ = 6. α₁ = 4/(8 + 4·8)·2 + 1/(2 + 4·1)·1 = 1/5 + 1/6; α₂ = 1/(2 + 6)·1 = 1/8.
    "GradCAM++ (paper)": [[11 / 30, 2 / 8], [11 / 10, 4 / 8]],
    # Without B₁ the score is 2, without B₂ it is 10: α = (4−2)/4, (4−10)/4.
    "AblationCAM": [[0.5, 0.0], [1.5, 0.0]],
    "AblationCAM (absolute)": [[0.5, 0.0], [1.5, 0.0]],
}


def image() -> Tensor:
    return IMAGE[None, None].double()


@pytest.mark.parametrize("method", EXPECTED)
def test_map_by_hand(method: str) -> None:
    """Raw maps of class 0 are those worked out on paper."""
    raw = explain(network(), image(), method, 0, normalize=False)
    expected = torch.tensor(EXPECTED[method], dtype=torch.float64)
    constant = 1e-7 if method == "XGradCAM" else 1e-12  # grad-cam's in the denominator
    torch.testing.assert_close(raw[0], expected, atol=constant, rtol=0)


def test_scorecam_by_hand() -> None:
    """Each mask keeps one column's gradient of the map; the weights are a softmax of two scores."""
    # Masks: B₁ stretched is [[1/3, 0], [1, 0]], B₂ stretched [[0, 1/2], [0, 1]]. On the masked
    # image with first row (1/3, 0) the score is 2·1/3 + 8; with (0, −1) it is −3·1 + 8.
    first, second = 2 / 3 + 8, 5.0
    share = exp(first) / (exp(first) + exp(second))
    raw = explain(network(), image(), "ScoreCAM", 0, normalize=False)
    expected = share * MAPS[0] + (1 - share) * MAPS[1]
    torch.testing.assert_close(raw[0], expected.double(), atol=1e-7, rtol=0)


def test_eigencam_by_hand() -> None:
    """The first principal axis of four points in the plane."""
    # Points (1,0), (0,2), (3,0), (0,4), centred at (1, 3/2): covariance sums [[6, −6], [−6, 11]].
    top = (17 + sqrt(25 + 144)) / 2
    axis = torch.tensor([6.0, 6.0 - top]).double()
    axis = axis / axis.norm()
    points = torch.tensor([[1.0, 0], [0, 2], [3, 0], [0, 4]]).double() - torch.tensor([1.0, 1.5])
    line = (points @ axis).view(2, 2)
    line = line if line.max() >= -line.min() else -line
    raw = explain(network(), image(), "EigenCAM (corrected)", 0, normalize=False)
    torch.testing.assert_close(raw[0], line.clamp(min=0), atol=1e-12, rtol=0)


def test_a_negative_score_turns_ablationcam_but_not_its_absolute_variant() -> None:
    """With the bias −8 the score is −12: AblationCAM changes every sign, (absolute) none."""
    model = network()
    with torch.no_grad():
        model.head[1].bias[0] = -8.0
    # (−12 + 14) / −12 < 0 for B₁, (−12 + 6) / −12 = 1/2 for B₂.
    plain = explain(model, image(), "AblationCAM", 0, normalize=False)[0]
    torch.testing.assert_close(plain, 0.5 * MAPS[1].double())
    absolute = explain(model, image(), "AblationCAM (absolute)", 0, normalize=False)[0]
    torch.testing.assert_close(absolute, MAPS[0].double() / 6)


def test_rendering_by_hand() -> None:
    """Cut at 0, stretched, resized with half-pixel centres, stretched again."""
    from camwall.methods import render

    raw = torch.tensor([[[-1.0, 1.0], [1.0, 3.0]]]).double()
    # Cut and stretched: [[0, 1/3], [1/3, 1]]; upsampled to 4×4 its corners stay, the inner
    # positions read at 1/4 and 3/4.
    at = torch.tensor([0.0, 0.25, 0.75, 1.0]).double()
    y, x = at[:, None], at[None, :]
    expected = (1 - y) * x / 3 + y * ((1 - x) / 3 + x)
    torch.testing.assert_close(render(raw, (4, 4))[0], expected, atol=1e-6, rtol=0)


def test_a_map_without_positive_values_stays_zero() -> None:
    """Nothing is stretched out of nothing."""
    from camwall.methods import render

    assert not render(torch.full((1, 2, 2), -1.0), (4, 4)).any()
