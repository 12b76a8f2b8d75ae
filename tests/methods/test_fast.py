"""What the scores depend on alone, in channels last, gives what the whole trunk does."""

import pytest
import torch
from torch import Tensor, nn

from camwall import BlindnessError, CamwallError, WalledModel, certify, explain
from camwall.as_found import kept
from camwall.methods import Evidence
from camwall.models import MaskedModel, visible_part
from camwall.wall import needed_rows
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


@pytest.mark.parametrize("method", ["ScoreCAM", "ScoreCAM (half-pixel)"])
@pytest.mark.parametrize("network", NETWORKS)
def test_methods_give_the_same_maps_with_it(network: str, method: str) -> None:
    """Normalised ScoreCAM maps in float32 differ from those without it by rounding."""
    model = NETWORKS[network](0)
    batch = images(model, 2)
    found, expected = (explain(model, batch, method, visible_only=v) for v in (True, False))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_a_trunk_that_branches_on_values() -> None:
    """Any code between images and maps is run as it is."""

    class Branching(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, values: Tensor) -> Tensor:
            return self.inner(values) if values.sum() > 0 else self.inner(values) * 2

    base = resnet_parts(0)
    model = walled(Parts(Branching(base.features), base.head), 20)
    batch = images(model, 2)
    found, expected = (explain(model, batch, "ScoreCAM", visible_only=v) for v in (True, False))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_a_masked_stack_with_normalisation() -> None:
    """A VGG with batch normalisation: the layers stay a stack, whose rows can be cut."""
    stack = [nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(4)]
    head = nn.Sequential(nn.Flatten(), nn.Linear(6 * 8 * 8, 5))
    features = nn.Sequential(*stack)
    randomise(nn.ModuleList([features, head]), 0)
    model = MaskedModel(features, head, (6, 8, 8), 3, PLAIN, masked=True).double().eval()
    batch = images(model, 2).double()
    for method in ("ScoreCAM", "Opti-CAM"):
        cut, whole = (
            explain(model, batch, method, normalize=False, visible_only=v) for v in (True, False)
        )
        torch.testing.assert_close(cut, whole, atol=1e-9, rtol=1e-7)


def pooled(features: nn.Module, channels: int = 8, row: int = 16) -> WalledModel:
    """``features`` behind a wall, average pooling and a dense layer above them."""
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))
    randomise(nn.ModuleList([features, head]), 3)
    return walled(Parts(features, head), row)


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


@pytest.mark.parametrize("touch", ["hook", "forward"])
def test_a_stack_within_the_stack_that_was_touched_proves_nothing(touch: str) -> None:
    """Its layers are not all that runs."""
    inner = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU())
    features = nn.Sequential(inner, nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
    head = nn.Sequential(nn.Flatten(), nn.Linear(8 * 8 * 8, CLASSES))
    model = MaskedModel(features, head, (8, 8, 8), 3, PLAIN, masked=True).eval()
    assert model.ground is not None
    if touch == "hook":
        inner.register_forward_hook(lambda module, given, maps: maps + given[0].mean())
    else:
        inner.forward = lambda values: inner[1](inner[0](values)) + values.mean()
    assert model.ground is None
    with pytest.raises(BlindnessError):
        certify(model)


def test_a_layer_without_a_rule_is_tried_as_it_is_found() -> None:
    """In evaluation mode, whatever mode it is in, on the model's own kind of numbers."""
    norm = nn.BatchNorm2d(8)
    features = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), Scaled(norm, nn.ReLU()))
    head = nn.Sequential(nn.Flatten(), nn.Linear(8 * 8 * 8, CLASSES))
    model = MaskedModel(features, head, (8, 8, 8), 3, PLAIN, masked=True)
    assert model.training
    certify(model.double())
    assert torch.equal(norm.running_mean, torch.zeros(8).double())
    assert norm.num_batches_tracked == 0


def test_windows_that_follow_the_height_get_all_rows() -> None:
    """A crop would give an adaptive pooling other windows: nothing is cropped before it."""
    model = strange("adaptive pooling")
    batch = images(model, 2)
    torch.testing.assert_close(model.scores(batch), model(batch), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(visible_part(model)(batch), model(batch), atol=1e-6, rtol=1e-5)
    found = explain(model, batch, "ScoreCAM")
    theirs = explain(model, batch, "ScoreCAM", engine="grad-cam")
    torch.testing.assert_close(found, theirs, atol=1e-4, rtol=0)


def test_a_trunk_that_the_copy_does_not_follow_runs_as_it_is() -> None:
    """Said in a warning; the maps are grad-cam's."""
    model = strange("check of its input")
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


@pytest.mark.filterwarnings("error:the trunk runs as it is")
def test_the_newer_settings_of_precision_are_taken() -> None:
    """They are left as found, and the trunk runs as fast as under the older ones."""
    model = NETWORKS["resnet"](0)
    evidence, cudnn = Evidence(model, images(model, 1)), torch.backends.cudnn
    with kept(model):
        torch.backends.fp32_precision = "tf32"
        before = cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision
        assert evidence.rows_read == model.rows_read
        assert evidence._trunk is not None
        assert (cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision) == before
