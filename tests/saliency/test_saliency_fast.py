"""The fast copy of a trunk computes what the trunk does, and leaves it alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from camwall import explain
from camwall.config import quick
from camwall.models import MaskedModel, Split, build_wall
from camwall.saliency import fast
from camwall.saliency.fast import Winograd, fast_copy
from tests.as_found import assert_same, snapshot
from tests.networks import NETWORKS, PLAIN, images, randomise, resnet_like


@pytest.fixture(autouse=True)
def few_channels_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Winograd's algorithm run on the small networks, in groups of few images."""
    monkeypatch.setattr(fast, "MANY_IN", 1)
    monkeypatch.setattr(fast, "MANY_OUT", 1)
    monkeypatch.setattr(fast, "CACHED", 5000)


@settings(max_examples=30 if quick() else 200, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 7),
    st.integers(1, 7),
    st.integers(1, 13),
    st.integers(1, 13),
    st.booleans(),
)
def test_winograd_is_the_convolution(
    count: int, inner: int, outer: int, height: int, width: int, bias: bool
) -> None:
    """For every size, also where tiles stick out, to rounding in double precision."""
    torch.manual_seed(count + 10 * inner + 100 * outer + 1000 * height + width)
    conv = nn.Conv2d(inner, outer, 3, padding=1, bias=bias).double()
    values = torch.randn(count, inner, height, width).double()
    found = Winograd(conv)(values)
    torch.testing.assert_close(found, conv(values), atol=1e-12, rtol=1e-10)


def test_winograd_can_be_differentiated() -> None:
    """The gradient to its input is the convolution's."""
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 5, 3, padding=1).double()
    values = torch.randn(2, 4, 7, 9).double().requires_grad_()
    weights = torch.randn(2, 5, 7, 9).double()
    (found,) = torch.autograd.grad((Winograd(conv)(values) * weights).sum(), values)
    (expected,) = torch.autograd.grad((conv(values) * weights).sum(), values)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("double", [True, False])
def test_the_copy_computes_the_same(network: str, double: bool) -> None:
    """To rounding; with all its batch normalisations folded and Winograd where it applies."""
    for seed in range(3):
        model = NETWORKS[network](seed)
        model = model.double() if double else model
        batch = images(model, 3, seed).to(next(model.parameters()).dtype)
        before = snapshot(model, batch)
        copied = fast_copy(model.trunk)
        found = model.visible_features(batch, copied)
        assert_same(before, snapshot(model, batch))
        expected = model.visible_features(batch)
        scale = float(expected.detach().abs().max())
        assert (found - expected).abs().max() < (1e-12 if double else 1e-5) * scale
        assert not any(isinstance(m, nn.BatchNorm2d) for m in copied.modules())
        assert any(isinstance(m, Winograd) for m in copied.modules()) == (network != "efficientnet")
        assert not any(p.requires_grad for p in copied.parameters())


@pytest.mark.parametrize("method", ["ScoreCAM", "ScoreCAM (half-pixel)"])
@pytest.mark.parametrize("network", NETWORKS)
def test_methods_give_the_same_maps_with_it(network: str, method: str) -> None:
    """Normalised ScoreCAM maps in float32 differ from those without it by rounding."""
    model = NETWORKS[network](0)
    batch = images(model, 2)
    found, expected = (explain(model, batch, method, visible_only=v) for v in (True, False))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_a_trunk_that_branches_keeps_its_normalisation() -> None:
    """What cannot be traced is copied as it is."""

    class Branching(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, values: Tensor) -> Tensor:
            return self.inner(values) if values.sum() > 0 else self.inner(values) * 2

    base = resnet_like(0)
    model = build_wall(Split(Branching(base.trunk), base.head.head, base.preprocessing), row=20)
    copied = fast_copy(model.trunk)
    assert any(isinstance(m, nn.BatchNorm2d) for m in copied.modules())
    batch = images(model, 2)
    torch.testing.assert_close(
        model.visible_features(batch, copied), model.visible_features(batch), atol=1e-4, rtol=1e-4
    )


def test_shared_and_branching_normalisations_are_not_folded() -> None:
    """A convolution whose output is used twice, or a module called twice, stays as it is."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, values: Tensor) -> Tensor:
            first = self.conv(values)
            second = self.norm(first) + first
            return self.norm(self.conv(second))

    torch.manual_seed(0)
    trunk = Twice().double().eval()
    trunk.norm.running_mean += 1
    trunk.norm.running_var *= 3
    values = torch.randn(2, 3, 4, 4).double()
    torch.testing.assert_close(fast_copy(trunk)(values), trunk(values))


def test_normalisation_is_folded_in_a_masked_stack() -> None:
    """A VGG with batch normalisation: the layers stay a stack, whose rows can be cut."""
    stack = [nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(4)]
    head = nn.Sequential(nn.Flatten(), nn.Linear(6 * 8 * 8, 5))
    features = nn.Sequential(*stack)
    randomise(nn.ModuleList([features, head]), 0)
    model = MaskedModel(features, head, (6, 8, 8), 32, 3, PLAIN, masked=True).double().eval()
    fast = fast_copy(model.trunk)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    assert isinstance(model.trunk[1], nn.BatchNorm2d), "the model keeps its own"
    batch = images(model, 2).double()
    for method in ("ScoreCAM", "Opti-CAM"):
        cut, whole = (
            explain(model, batch, method, normalize=False, visible_only=v) for v in (True, False)
        )
        torch.testing.assert_close(cut, whole, atol=1e-9, rtol=1e-7)
