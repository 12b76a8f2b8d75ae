"""The fast copy of a trunk computes what the trunk does, and leaves it alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from camwall import CamwallError, WalledModel, explain
from camwall.config import quick
from camwall.methods import fast
from camwall.methods.fast import Winograd, fast_copy
from camwall.models import MaskedModel
from camwall.wall import needed_rows
from tests.helpers.as_found import assert_same, snapshot
from tests.helpers.networks import (
    CLASSES,
    NETWORKS,
    PLAIN,
    SIZE,
    Parts,
    images,
    randomise,
    resnet_parts,
    walled,
)


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
        found = model.visible_maps(batch, copied)
        assert_same(before, snapshot(model, batch))
        expected = model.visible_maps(batch)
        scale = float(expected.detach().abs().max())
        assert (found - expected).abs().max() < (1e-12 if double else 1e-5) * scale
        assert not any(isinstance(m, nn.BatchNorm2d) for m in copied.modules())
        wide = "efficientnet" not in network  # whose 3×3 convolutions are depthwise
        assert any(isinstance(m, Winograd) for m in copied.modules()) == wide
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

    base = resnet_parts(0)
    model = walled(Parts(Branching(base.features), base.head), 20)
    copied = fast_copy(model.trunk)
    assert any(isinstance(m, nn.BatchNorm2d) for m in copied.modules())
    batch = images(model, 2)
    torch.testing.assert_close(
        model.visible_maps(batch, copied), model.visible_maps(batch), atol=1e-4, rtol=1e-4
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
    model = MaskedModel(features, head, (6, 8, 8), 3, PLAIN, masked=True).double().eval()
    fast = fast_copy(model.trunk)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    assert isinstance(model.trunk[1], nn.BatchNorm2d), "the model keeps its own"
    batch = images(model, 2).double()
    for method in ("ScoreCAM", "Opti-CAM"):
        cut, whole = (
            explain(model, batch, method, normalize=False, visible_only=v) for v in (True, False)
        )
        torch.testing.assert_close(cut, whole, atol=1e-9, rtol=1e-7)


class Aliased(nn.Module):
    """A convolution and its normalisation that are called by another name than their first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8)
        self.block = nn.Sequential(self.conv, self.norm, nn.ReLU())

    def forward(self, values: Tensor) -> Tensor:
        return self.block(values)


def pooled(features: nn.Module, channels: int = 8, row: int = 16) -> WalledModel:
    """``features`` behind a wall, average pooling and a dense layer above them."""
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))
    randomise(nn.ModuleList([features, head]), 3)
    return walled(Parts(features, head), row)


def test_a_normalisation_of_two_names_is_folded_once() -> None:
    """Under each of them it is gone from the copy."""
    model = pooled(Aliased()).double()
    batch = images(model, 2).double()
    copied = fast_copy(model.trunk)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in copied.modules())
    torch.testing.assert_close(model.visible_maps(batch, copied), model.visible_maps(batch))


class Standardised(nn.Conv2d):
    """A convolution whose weights are not those it computes with."""

    def forward(self, values: Tensor) -> Tensor:
        flat = self.weight.flatten(1)
        weight = ((flat.T - flat.mean(1)) / flat.std(1)).T.view_as(self.weight)
        return nn.functional.conv2d(values, weight, self.bias, self.stride, self.padding)


class Checking(nn.Sequential):
    """A stack that looks at what it is given, and lies in memory as images usually do."""

    def forward(self, values: Tensor) -> Tensor:
        if not isinstance(values, Tensor):
            raise ValueError("no tensor")
        maps = super().forward(values)
        return maps.view(len(maps) * maps.shape[1], -1).view(maps.shape)


class Scaled(nn.Sequential):
    """A stack that does more than run its layers."""

    def forward(self, values: Tensor) -> Tensor:
        return 2 + super().forward(values)


def strange(name: str) -> WalledModel:
    """Networks that the shortcuts were not made for."""
    conv = nn.Conv2d(3, 8, 3, 4, 1)
    if name == "conv of its own":
        return pooled(nn.Sequential(Standardised(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU()))
    if name == "check of its input":
        return pooled(Checking(conv, nn.BatchNorm2d(8), nn.ReLU()))
    inner: nn.Module = nn.AdaptiveAvgPool2d(8)
    if name == "stack of its own":
        inner = Scaled(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
    features = nn.Sequential(conv, nn.ReLU(), inner, nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
    head = nn.Sequential(nn.Flatten(), nn.Linear(8 * 8 * 8, CLASSES))
    randomise(nn.ModuleList([features, head]), 3)
    return MaskedModel(features, head, (8, 8, 8), 3, PLAIN, masked=True).eval()


def test_a_stack_of_its_own_is_not_taken_apart() -> None:
    """It is one layer, whose reach is found by tainting; of it nothing is proved."""
    model = strange("stack of its own")
    with pytest.raises(CamwallError, match="receptive fields of a Scaled are not known"):
        needed_rows(model.features, SIZE, 3)
    assert model.ground is None
    assert model.wall.row == 18  # two 3×3 convolutions before row 2, and rows 15 to 17 before row 4
    batch = images(model, 2)
    torch.testing.assert_close(model.rest.chain(model.visible_maps(batch)), model(batch))
    painted = batch.masked_fill(model.wall.hidden, float("nan"))
    assert torch.equal(model.visible_maps(painted), model.visible_maps(batch))


@pytest.mark.parametrize("name", ["conv of its own", "check of its input", "adaptive pooling"])
def test_a_trunk_that_the_copy_does_not_follow_runs_as_it_is(name: str) -> None:
    """Said in a warning; the maps are grad-cam's."""
    model = strange(name)
    batch = images(model, 2)
    for method in ("ScoreCAM", "Opti-CAM"):
        with pytest.warns(UserWarning, match="the trunk runs as it is, slowly"):
            found = explain(model, batch, method)
        plain = explain(model, batch, method, visible_only=False)
        torch.testing.assert_close(found, plain, atol=1e-4, rtol=0)
        if method == "ScoreCAM":
            theirs = explain(model, batch, method, engine="grad-cam")
            torch.testing.assert_close(found, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["flattened apart", "stack of its own"])
def test_heads_that_only_look_like_a_linear_layer_first(name: str) -> None:
    """AblationCAM goes by copies where a product would be another function."""
    features = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU())
    heads = {
        "flattened apart": nn.Sequential(
            nn.AdaptiveAvgPool2d(5), nn.Flatten(2), nn.Linear(25, 1), nn.Flatten(), nn.Linear(8, 6)
        ),
        "stack of its own": nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            Scaled(nn.Linear(8, 8), nn.ReLU()),
            nn.Linear(8, 6),
        ),
    }
    head = heads[name]
    randomise(nn.ModuleList([features, head]), 3)
    model = walled(Parts(features, head), 16)
    batch = images(model, 2)
    found = explain(model, batch, "AblationCAM")
    theirs = explain(model, batch, "AblationCAM", engine="grad-cam")
    torch.testing.assert_close(found, theirs, atol=1e-4, rtol=0)
