"""AblationCAM on maps of either sign: paper and engine set a channel to 0, grad-cam does not."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camwall import METHODS, WalledModel, explain
from camwall.audit import oracles
from camwall.methods import render
from tests.helpers.networks import CLASSES, SIZE, Parts, images, randomise, walled

#: More channels than the 32 that grad-cam ablates at a time.
CHANNELS, TOGETHER = 40, 32


class Raised(nn.ReLU):
    """Maps that are nowhere 0, and nowhere negative either."""

    def forward(self, values: Tensor) -> Tensor:
        return super().forward(values) + 0.1


ACTIVATIONS = {"SiLU": nn.SiLU, "GELU": nn.GELU, "raised ReLU": Raised, "ReLU": nn.ReLU}
NOT_ZERO = ["SiLU", "GELU", "raised ReLU"]


def network(activation: str, seed: int = 0) -> WalledModel:
    """40 maps of 8×8 after ``activation``, average pooling and a dense layer; wall at row 16."""
    last = ACTIVATIONS[activation]()
    features = nn.Sequential(nn.Conv2d(3, 12, 4, 4), nn.ReLU(), nn.Conv2d(12, CHANNELS, 1), last)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, CLASSES))
    randomise(nn.ModuleList([features, head]), seed)
    return walled(Parts(features, head), 16)


def as_grad_cam(model: WalledModel, image: Tensor, unit: int) -> np.ndarray:
    """Ablation as `pytorch_grad_cam.ablation_layer.AblationLayer` does it, in float64.

    The least value is looked for in all channels, and in all copies of the batch, so that each copy
    finds what the one before it was given.
    """
    with torch.no_grad():
        maps = model.features(image[None])[0]
        score = float(model.head(maps[None])[0, unit])
        least, weights = float(maps.min()), []
        for channel in range(CHANNELS):
            ablated = maps.clone()
            steps = channel % TOGETHER + 1
            ablated[channel] = 0.0 if least == 0 else least - 1e7 * steps
            weights.append((score - float(model.head(ablated[None])[0, unit])) / score)
    return oracles.combine(weights, maps.numpy())


def rendered(raw: np.ndarray) -> Tensor:
    return render(torch.from_numpy(raw)[None], (SIZE, SIZE))[0].float()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_our_map_sets_each_channel_to_zero(activation: str) -> None:
    """As the paper's equation, in float64, whatever the sign of the maps."""
    for seed in range(3):
        model = network(activation, seed).double()
        batch = images(model, 2, seed).double()
        raw = explain(model, batch, "AblationCAM", 2, normalize=False).detach().numpy()
        for found, image in zip(raw, batch, strict=True):
            expected = np.maximum(oracles.ablationcam(model, image, 2), 0)
            scale = max(1.0, np.abs(expected).max())
            np.testing.assert_allclose(found, expected, atol=1e-8 * scale, rtol=0)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_grad_cam_writes_into_a_channel(activation: str) -> None:
    """0 only if the least activation of all channels is 0, else that less 10⁷ times 1, 2, …, 32."""
    for seed in range(3):
        model = network(activation, seed)
        batch = images(model, 2, seed)
        theirs = explain(model, batch, "AblationCAM", 2, engine="grad-cam")
        double = network(activation, seed).double()
        for found, image in zip(theirs, batch, strict=True):
            expected = rendered(as_grad_cam(double, image.double(), 2))
            torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_the_maps_differ_where_the_least_activation_is_not_zero() -> None:
    """By up to 1.0, all there is; on ReLU maps they agree to 10⁻⁴."""
    worst = {}
    for activation in ACTIVATIONS:
        gaps = []
        for seed in range(6):
            model = network(activation, seed)
            batch = images(model, 3, seed)
            ours, theirs = (
                explain(model, batch, "AblationCAM", [0, 1, 2], engine=engine)  # type: ignore[arg-type]
                for engine in ("camwall", "grad-cam")
            )
            gaps.append(float((ours - theirs).abs().max()))
        worst[activation] = max(gaps)
    assert worst["ReLU"] <= 1e-4
    assert all(worst[activation] > 0.9 for activation in NOT_ZERO), worst
    assert "10⁷" in METHODS["AblationCAM"].departs
