"""The paper's masked network is the rule's special case, bit for bit."""

import pytest
import torch
from torch import Tensor

from camwall import masked_vgg16
from camwall.config import quick
from camwall.models import MaskedModel, WalledModel, small_vgg
from tests.helpers.networks import Parts, images, randomise, vgg_like, walled


def with_gradients(model: WalledModel, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Maps, scores, and the gradient of one score at the maps."""
    seen: list[Tensor] = []
    handle = model.target_layer.register_forward_hook(lambda *found: seen.append(found[2]))
    scores = model(batch)
    handle.remove()
    (gradient,) = torch.autograd.grad(scores[:, -1].sum(), seen[0])
    return seen[0].detach(), scores.detach(), gradient


def assert_special_case(masked: MaskedModel, baseline: MaskedModel, batch: Tensor) -> None:
    """The baseline behind the masked network's wall, read at its visible cells, is this network.

    The baseline's own weights behind the wall are not 0; they meet cells that are.
    """
    assert baseline.cells()[:, :, masked.visible_map_rows :].any()
    built = walled(
        Parts(baseline.features, baseline.head, baseline.preprocessing),
        masked.wall,
        visible_cells=masked.visible_cells,
    )
    for expected, found in zip(
        with_gradients(masked, batch), with_gradients(built, batch), strict=True
    ):
        assert expected.abs().max() > 0
        assert torch.equal(expected, found)
    with torch.no_grad():
        assert torch.equal(masked(batch), built(batch))
        assert torch.equal(masked.features(batch), built.features(batch))
        assert torch.equal(masked(batch[:1]), built(batch[:1]))
        # One row of cells more, and it is no longer this network.
        more = masked.visible_cells.clone()
        more[masked.visible_map_rows] = True
        parts = Parts(baseline.features, baseline.head, baseline.preprocessing)
        assert not torch.equal(walled(parts, masked.wall, visible_cells=more)(batch), built(batch))


@pytest.mark.parametrize("seed", range(3))
def test_of_a_small_vgg(seed: int) -> None:
    """Maps, scores and gradients, in single and in double precision."""
    masked, baseline = vgg_like(seed), vgg_like(seed, masked=False)
    batch = images(masked, 3, seed)
    assert_special_case(masked, baseline, batch)
    assert_special_case(masked.double(), baseline.double(), batch.double())


def test_of_the_networks_that_are_trained() -> None:
    """The small VGG for images of 28×28, with the paper's map and mask."""
    masked, baseline = small_vgg(), small_vgg(masked=False)
    for model in (masked, baseline):
        randomise(model, 7)
        model.apply_wall()
        model.eval()
    gen = torch.Generator().manual_seed(0)
    assert_special_case(masked, baseline, torch.randn(3, 1, 28, 28, generator=gen))


@pytest.mark.skipif(quick(), reason="the real network takes 0.8 GB and some seconds")
def test_of_the_papers_vgg16() -> None:
    """Its real layers and sizes; the dense layers are cheap: one random column, repeated."""
    with torch.device("meta"):
        baseline = masked_vgg16(masked=False, classes=5)
    gen = torch.Generator().manual_seed(0)
    weights = {}
    for name, value in baseline.state_dict().items():
        fan = value[0].numel() if value.ndim > 1 else 1e4
        few = torch.randn(min(value.numel(), 40_009), generator=gen) * (2 / fan) ** 0.5
        weights[name] = few.repeat(-(-value.numel() // len(few)))[: value.numel()].view(value.shape)
    baseline.load_state_dict(weights, assign=True)
    with torch.device("meta"):
        masked = masked_vgg16(classes=5)
    weights["head.1.weight"] = weights["head.1.weight"].clone()
    masked.load_state_dict(weights, assign=True)
    masked.apply_wall()
    batch = torch.randn(2, 3, 224, 224, generator=gen)
    assert_special_case(masked.eval(), baseline.eval(), batch)
