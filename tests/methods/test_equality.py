"""The engine against the package grad-cam, and against slow oracles in float64."""

import numpy as np
import pytest
import torch

from camwall import METHODS, explain
from camwall.audit import oracles
from camwall.config import quick
from camwall.methods import explain_each
from tests.helpers.networks import NETWORKS, images

SEEDS = range(2 if quick() else 6)
SHARED = [name for name, m in METHODS.items() if m.raw is not None and "grad-cam" in m.packages]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [1, 3])
def test_maps_equal_those_of_grad_cam(network: str, seed: int, count: int) -> None:
    """Normalised maps differ from grad-cam's by at most 10⁻⁴, for every method both have."""
    model = NETWORKS[network](seed)
    batch = images(model, count, seed)
    target = None if seed % 2 else [(seed + i) % 6 for i in range(count)]
    ours = explain_each(model, batch, SHARED, target)
    theirs = explain_each(model, batch, SHARED, target, engine="grad-cam")
    assert sum(bool(theirs[name].std() > 0.01) for name in SHARED) > len(SHARED) / 2
    for name in SHARED:
        assert theirs[name].dtype == torch.float32
        torch.testing.assert_close(
            ours[name], theirs[name], atol=1e-4, rtol=0, msg=lambda text, name=name: name + text
        )


def test_every_method_of_the_engine_has_an_oracle() -> None:
    """A method added to the register without an oracle fails here."""
    assert {name for name, m in METHODS.items() if m.raw is not None} == set(oracles.ORACLES)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", oracles.ORACLES)
def test_raw_maps_equal_the_oracles(network: str, method: str) -> None:
    """In double precision raw maps are those of the equations to 10⁻⁸, relative to their scale."""
    for seed in SEEDS:
        model = NETWORKS[network](seed).double()
        batch = images(model, 2, seed).double()
        target = [1, 4]
        raw = explain(model, batch, method, target, normalize=False).detach().numpy()
        for index, unit in enumerate(target):
            expected = np.maximum(oracles.ORACLES[method](model, batch[index], unit), 0)
            scale = max(1.0, np.abs(expected).max())
            np.testing.assert_allclose(raw[index], expected, atol=1e-8 * scale, rtol=0)


@pytest.mark.parametrize("network", NETWORKS)
def test_gradient_at_the_maps_is_a_difference_quotient(network: str) -> None:
    """∂y/∂B of the shared pass is what small steps in each cell of B do to the score."""
    model = NETWORKS[network](0).double()
    batch = images(model, 1).double()
    from camwall.methods import Evidence

    shared = Evidence(model, batch, 2)
    step = 1e-6
    cells = torch.randperm(shared.maps[0].numel(), generator=torch.Generator().manual_seed(0))[:60]
    with torch.no_grad():
        for cell in cells:
            bump = torch.zeros_like(shared.maps).flatten()
            bump[cell] = step
            bump = bump.view_as(shared.maps)
            rise = model.head(shared.maps + bump) - model.head(shared.maps - bump)
            quotient = float(rise[0, 2]) / (2 * step)
            assert quotient == pytest.approx(float(shared.gradients.flatten()[cell]), abs=1e-6)
