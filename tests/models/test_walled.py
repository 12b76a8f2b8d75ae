"""Walled models: built from torchvision's and EfficientNet's networks, masked, refused."""

import urllib.error
from pathlib import Path

import efficientnet_lite_pytorch
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from camwall import CamwallError, Wall, build_wall, certify, masked_vgg16
from camwall.config import quick
from camwall.models import MaskedModel, Preprocessing, WalledModel, WholeModel, library, small_vgg
from tests.helpers.networks import (
    NETWORKS,
    PLAIN,
    Parts,
    Residual,
    images,
    randomise,
    vgg_like,
    walled,
)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_two_parts_make_the_whole(network: str) -> None:
    """What the rest takes gives the model's scores, whichever way it is had; hooks see the maps."""
    model = NETWORKS[network](0).double()
    batch = images(model, 3).double()
    seen = []
    handle = model.target_layer.register_forward_hook(lambda *a: seen.append(a[2]))
    scores = model(batch)
    handle.remove()
    maps = model.features(batch)
    assert torch.equal(seen[0], maps)
    assert maps.shape[2:] == model.visible_cells.shape
    read = model.read(maps)
    cells = model.visible_cells
    torch.testing.assert_close(read.flatten(2).sum(dim=2), maps[:, :, cells].sum(dim=2))
    visible = model.visible_maps(batch)
    torch.testing.assert_close(visible, read, atol=1e-12, rtol=0)
    torch.testing.assert_close(model.rest.chain(visible), scores, atol=1e-12, rtol=0)
    torch.testing.assert_close(model.rest.chain(read), scores, atol=1e-12, rtol=0)
    torch.testing.assert_close(model.head(maps), scores, atol=1e-12, rtol=0)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_visible_part_reads_the_visible_rows_alone(network: str) -> None:
    """Cutting the image at the wall, or painting below it, changes no bit of what is read."""
    model = NETWORKS[network](0)
    batch = images(model, 2)
    expected = model.visible_maps(batch)
    painted = batch.clone()
    painted[:, :, model.wall.row :] = float("nan")
    assert torch.equal(model.visible_maps(painted), expected)
    assert model.rows_read == (32 if type(model) is WholeModel else model.wall.row)
    cut = batch[:, :, : model.rows_read]
    assert torch.equal(model.visible_maps(cut), expected)


@pytest.mark.parametrize("network", NETWORKS)
def test_maps_of_repainted_images(network: str) -> None:
    """`repainted` joins the hidden cells of other images to the visible ones."""
    model = NETWORKS[network](0)
    batch = images(model, 2)
    other = torch.where(model.wall.hidden, images(model, 2, seed=1), batch)
    maps, expected = model.features(batch), model.features(other)
    assert not torch.equal(maps, expected)
    assert torch.equal(model.repainted(maps, other), expected)


def test_the_rest_follows_the_weights() -> None:
    """It is cut anew from the weights as they are."""
    model = vgg_like(0)
    batch = images(model, 1)
    with torch.no_grad():
        model.head[1].weight.mul_(2)
        visible = model.rest.chain(model.visible_maps(batch))
    torch.testing.assert_close(visible, model(batch))


def test_masked_weights_stay_zero_and_the_baseline_keeps_its_own() -> None:
    """`apply_wall` zeroes the hidden cells of a masked model, no other weight."""
    masked, plain = vgg_like(0), vgg_like(0, masked=False)
    rows = masked.visible_map_rows
    assert rows == masked.read_rows == 3
    assert not masked.cells()[:, :, rows:].any()
    assert torch.equal(masked.cells()[:, :, :rows], plain.cells()[:, :, :rows])
    assert plain.cells()[:, :, rows:].all()
    assert plain.read_rows == 8
    with torch.no_grad():
        masked.head[1].weight.add_(1)
        plain.head[1].weight.add_(1)
    masked.apply_wall()
    plain.apply_wall()
    assert not masked.cells()[:, :, rows:].any()
    assert plain.cells()[:, :, rows:].any()


SMALL = {
    "vgg11": (lambda: torchvision.models.vgg11(num_classes=5), 96, 7),
    "vgg16_bn": (lambda: torchvision.models.vgg16_bn(num_classes=5), 128, 7),
    "resnet18": (lambda: torchvision.models.resnet18(num_classes=5), 160, 7),
    "resnet50": (lambda: torchvision.models.resnet50(num_classes=5), 64, 7),
    "efficientnet": (
        lambda: efficientnet_lite_pytorch.EfficientNet.from_name(
            "efficientnet-lite0", num_classes=5
        ),
        160,
        7,
    ),
}


#: torchvision's own, where a test puts another in its place.
GET_MODEL = torchvision.models.get_model

WAYS = [(name, way) for name in SMALL for way in ("whole", "apart")]
QUICK = [("vgg11", "apart"), ("resnet18", "whole"), ("efficientnet", "whole")]


@pytest.mark.parametrize(("name", "construction"), QUICK if quick() else WAYS)
def test_known_networks_are_walled_and_certified(
    name: str, construction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights, full size: certified to the last visible row."""
    # A dense layer of torchvision's VGG takes seconds to fill with random numbers; the wall does
    # not depend on which these are.
    monkeypatch.setattr(nn.init, "normal_", lambda t, mean=0.0, std=1.0: _cheap(t, std))
    monkeypatch.setattr(
        nn.init, "kaiming_uniform_", lambda t, **_: _cheap(t, (2 / t[0].numel()) ** 0.5)
    )
    torch.manual_seed(0)
    make, row, map_rows = SMALL[name]
    model = build_wall(make(), row, construction=construction)
    assert model.wall.row == row
    assert model.visible_cells.shape == (map_rows, map_rows)
    assert not any(module.training for module in model.modules())
    found = certify(model, probes=1, repaints=3)
    assert found.classes == 5
    assert found.proved.startswith("by construction for every input")
    assert found.last_row_seen == row - 1


def _cheap(tensor: torch.Tensor, std: float) -> torch.Tensor:
    values = torch.randn(4099) * std
    with torch.no_grad():
        tensor.flatten().copy_(values.repeat(-(-tensor.numel() // 4099))[: tensor.numel()])
    return tensor


def test_a_network_keeps_its_weights_and_shares_them() -> None:
    """What `build_wall` makes is trained as the network itself, which stays in its mode."""
    for construction in ("whole", "apart"):
        network = torchvision.models.resnet18(num_classes=5).train()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        model = build_wall(network, 96, construction=construction)
        assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
        assert {id(p) for p in network.parameters()} == {id(p) for p in model.parameters()}
        assert not any(module.training for module in model.modules())
        assert all(module.training for module in network.modules())


def test_a_refused_network_is_left_in_its_mode() -> None:
    """Only a model that is handed back is put in evaluation mode."""
    parts = plain_parts()
    parts.features.train()
    with pytest.raises(CamwallError):
        walled(parts, 5, construction="apart")
    assert all(module.training for module in parts.features.modules())


@pytest.mark.parametrize("construction", ["whole", "apart"])
def test_twins_share_parameters_and_no_module(construction: str) -> None:
    """A hook on one is none on the other; what trains one trains the other."""
    model = walled(plain_parts(), 16, construction=construction)
    first, second = model.twins
    assert model.trunk is first
    assert not {id(m) for m in first.modules()} & {id(m) for m in second.modules()}
    pairs = zip(first.named_parameters(), second.named_parameters(), strict=True)
    assert all(name == other and one is two for (name, one), (other, two) in pairs)
    assert [b.tolist() for b in first.buffers()] == [b.tolist() for b in second.buffers()]
    called: list[nn.Module] = []
    for module in model.modules():
        module.register_forward_hook(lambda module, *_: called.append(module))
    model(torch.zeros(1, 3, 32, 32))
    assert len(called) == len(set(called))  # DeepLift and LRP need each called once
    # The second twin's pass ends at the layer.
    assert set(model.modules()) - set(called) == {model.twins, second, *second.head.modules()}
    with torch.no_grad():
        next(first.parameters()).mul_(2)
    assert torch.equal(next(second.parameters()), next(first.parameters()))


@pytest.mark.parametrize("name", ["features", "head", "trunk", "read"])
def test_a_module_in_place_of_a_method_is_refused(name: str) -> None:
    """It would be kept, and never be called."""
    model = walled(plain_parts(), 16)
    with pytest.raises(CamwallError, match=f"{name} of a WholeModel is no module that another"):
        setattr(model, name, nn.Identity())


def test_rows_that_do_not_divide_the_map() -> None:
    """The rows that do are library."""
    parts = plain_parts()
    apart = {"construction": "apart"}
    with pytest.raises(
        CamwallError,
        match=r"a wall at row 5 gives maps of 1 and 6 rows, which do not divide the map of 8; "
        r"rows that may: 4, 8, .*, 28 \(construction='whole' takes any\)$",
    ):
        walled(parts, 5, **apart)
    with pytest.raises(
        CamwallError,
        match=r"at column 18 gives .* not divide the map of 8; columns that may: 4, 8, .*, 28 ",
    ):
        walled(parts, Wall.columns(32, 32, 0, 18), **apart)
    assert walled(parts, 5).wall.row == 5
    for row in (0, 32, -4):
        for how in ({}, apart):
            with pytest.raises(CamwallError, match="must lie within the image, 1 to 31"):
                walled(parts, row, **how)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        ({"construction": "half"}, "unknown construction 'half'; known: whole, apart"),
        ({"paint": "blue"}, "unknown paint 'blue'; known: zero, grey, .*, none"),
        ({"construction": "apart", "paint": "grey"}, "are for construction='whole'"),
        ({"construction": "apart", "visible_cells": torch.ones(8, 8)}, "for construction='whole'"),
        ({"visible_cells": torch.ones(4, 8)}, r"are \[8, 8\] as the maps, not \[4, 8\]"),
        ({"visible_cells": torch.ones(8, 8)}, "rows 16–31 of 32×32 leaves 64 of 64 map cells"),
        ({"visible_cells": torch.zeros(8, 8)}, "leaves 0 of 64 map cells visible: move it"),
        ({"wall": 2}, "rows 2–31 of 32×32 leaves 0 of 64 map cells visible: move it"),
        ({"wall": Wall.rows(16, 32, 8)}, "made for images of 16×32, the network takes 32×32"),
        ({"wall": torch.zeros(32, 32)}, "a wall is a bool tensor"),
        (
            {"wall": Wall.border(32, 32, 4), "construction": "apart"},
            "has no two sides to run apart: construction='whole' takes it",
        ),
        (
            {"wall": Wall.rows(32, 32, 8, 16), "construction": "apart"},
            "has no two sides to run apart: construction='whole' takes it",
        ),
    ],
)
def test_walls_that_cannot_be_built(call: dict, match: str) -> None:
    """One line each."""
    with pytest.raises(CamwallError, match=match) as caught:
        walled(plain_parts(), **{"wall": 16, **call})
    assert "\n" not in str(caught.value)


def plain_parts() -> Parts:
    """A small residual network in two parts, never walled."""
    features = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), Residual(4))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    randomise(nn.ModuleList([features, head]), 0)
    return Parts(features, head)


def test_a_trunk_that_shrinks_the_map_on_each_side_is_refused() -> None:
    """Valid convolutions lose rows at the wall: the two maps would not join to the whole."""
    features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AvgPool2d(2))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    parts = Parts(features, head)
    with pytest.raises(
        CamwallError, match=r"gives maps of 7 and 7 rows, which do not divide the map of 15"
    ):
        walled(parts, 16, construction="apart")
    assert walled(parts, 16).visible_cells.shape == (15, 15)


def test_heads_that_cannot_be_masked() -> None:
    """A masked model needs Flatten and a Linear of the maps' size."""
    features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
    for head, match in (
        (nn.Sequential(nn.Linear(4, 2)), "starts with Flatten and Linear"),
        (nn.Sequential(nn.Flatten()), "starts with Flatten and Linear"),
        (nn.Sequential(nn.Flatten(), nn.Linear(7, 2)), "takes 7 values, the maps"),
    ):
        with pytest.raises(CamwallError, match=match):
            MaskedModel(features, head, (4, 8, 8), 3, PLAIN, masked=True)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 3, 31, 32), (1, 3, 32, 33)])
def test_images_of_another_shape(shape: tuple[int, ...]) -> None:
    """Said before any layer runs."""
    with pytest.raises(CamwallError, match=r"takes images of shape \[N, 3, 32, "):
        vgg_like(0)(torch.zeros(shape))


def test_masked_vgg16_has_the_papers_shape() -> None:
    """Layers, sizes and keys as in the paper; on torch's meta device, without its 0.8 GB."""
    with torch.device("meta"):
        model, baseline = masked_vgg16(), masked_vgg16(masked=False)
        maps = model.features(torch.zeros(1, 3, 224, 224))
        assert model.head(maps).shape == (1, 1000)
    assert maps.shape == (1, 256, 14, 14)
    assert model.cells().shape == (4096, 256, 14, 14)
    assert [type(layer).__name__ for layer in model.features].count("Conv2d") == 13
    assert [type(layer).__name__ for layer in model.features].count("MaxPool2d") == 4
    assert isinstance(model.features[29], nn.ReLU)
    assert baseline.wall == model.wall
    assert baseline.read_rows == 14
    assert model.class_names is not None
    assert len(model.class_names) == 1000
    assert sum(p.numel() for p in model.head[1].parameters()) == 256 * 14 * 14 * 4096 + 4096


def test_no_classes() -> None:
    """A classifier has one at least."""
    with pytest.raises(CamwallError, match="classes must be a whole number of at least 1, not 0"):
        masked_vgg16(classes=0)


def test_the_same_seed_gives_the_same_small_network() -> None:
    """Weights come from torch's global generator."""
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(small_vgg(channels=3).features[0].weight.detach())
    assert torch.equal(found[0], found[1])
    assert found[0].std().item() == pytest.approx((2 / (3 * 9)) ** 0.5, rel=0.2)


# --------------------------------------------------------------------------------------------
# Preprocessing


def test_normalising_and_back() -> None:
    """(pixel − mean) / std, channel by channel, and its inverse."""
    way = Preprocessing((0.5, 0.25), (0.5, 0.125))
    pixels = torch.tensor([[[0.0]], [[0.5]]])
    assert way.normalize(pixels).flatten().tolist() == [-1.0, 2.0]
    torch.testing.assert_close(way.denormalize(way.normalize(pixels)), pixels)


def test_an_image_of_the_crops_size_is_taken_as_it_is(tmp_path: Path) -> None:
    """A stack's wall stays where it was drawn; another image is resized and cropped."""
    way = Preprocessing((0.0,) * 3, (1.0,) * 3, 16, 8)
    ramp = torch.arange(64, dtype=torch.uint8).view(8, 8)
    Image.fromarray(ramp.numpy()).save(tmp_path / "stack.png")
    expected = (ramp.float() / 255).expand(3, 8, 8)
    torch.testing.assert_close(way.load([tmp_path / "stack.png"])[0], expected)
    Image.new("RGB", (40, 20), (255, 0, 0)).save(tmp_path / "other.png")
    other = way.load([str(tmp_path / "other.png")])
    assert other.shape == (1, 3, 8, 8)
    assert other[0, 0].eq(1).all()
    assert not other[0, 1:].any()


def test_images_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, corrupt, truncated, of a size that may not change: each in one line."""
    way = Preprocessing(crop=8)
    with pytest.raises(CamwallError, match=r"no image at .*gone\.png"):
        way.load([tmp_path / "gone.png"])
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(CamwallError, match=r"text\.png is not an image that can be read"):
        way.load([tmp_path / "text.png"])
    Image.effect_noise((64, 64), 99).save(tmp_path / "cut.png")
    data = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(CamwallError, match=r"cut\.png is not an image that can be read") as caught:
        way.load([tmp_path / "cut.png"])
    assert "\n" not in str(caught.value)
    Image.new("RGB", (9, 8)).save(tmp_path / "nine.png")
    with pytest.raises(CamwallError, match=r"nine\.png is 9×8, not 8×8"):
        Preprocessing(resize=None, crop=8).load([tmp_path / "nine.png"])
    with pytest.raises(CamwallError, match=r"cannot be read: Is a directory"):
        way.load([tmp_path])
    with pytest.raises(CamwallError, match="the list of paths is empty"):
        way.load([])


def test_efficientnet_lite_takes_its_own_pixels() -> None:
    """(x − 127) / 128 of pixels 0 to 255."""
    way = build_wall(SMALL["efficientnet"][0](), 160).preprocessing
    pixels = torch.tensor([0.0, 127.0, 255.0]).view(1, 1, 3).expand(3, 1, 3) / 255
    expected = torch.tensor([-127 / 128, 0.0, 1.0]).expand(3, 1, 3)
    torch.testing.assert_close(way.normalize(pixels), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["resnet18", "vgg11"])
def test_torchvisions_networks_are_had_by_name(name: str, monkeypatch) -> None:
    """Each that torchvision lists; here without its download."""
    monkeypatch.setattr(
        torchvision.models, "get_model", lambda n, weights: GET_MODEL(n, weights=None)
    )
    model = library.named_model(name)
    assert isinstance(model, WalledModel)
    with pytest.raises(
        CamwallError, match=r"unknown network 'alexnot'; known: .* nearest of which are alexnet"
    ):
        library.named_model("alexnot")


def test_weights_that_cannot_be_had_cost_one_line(monkeypatch) -> None:
    """Without a network, the name of what is missing."""

    def fails(*_, **__):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(torchvision.models, "get_model", fails)
    with pytest.raises(CamwallError, match="the weights of resnet18 cannot be had") as caught:
        library.named_model("resnet18")
    assert "\n" not in str(caught.value)


def test_preprocessing_is_that_of_the_weights(monkeypatch) -> None:
    """Torchvision's later weights want photographs of 232 pixels, and earlier ones of 256."""
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights: GET_MODEL(name))
    assert library.named_model("resnet50").preprocessing.resize == 232
    assert library.named_model("resnet18").preprocessing == Preprocessing()


def test_parts_that_do_not_fit_cost_one_line() -> None:
    """A head of fixed size, images of other channels; features without parameters are taken.

    A head of fixed size is no obstacle to `whole`, which changes no shape.
    """
    features = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.ReLU())
    fixed = nn.Sequential(nn.Flatten(), nn.Linear(4 * 4 * 4, 5))
    with pytest.raises(
        CamwallError, match=r"cannot take what is left visible \(.*\): .* gets one side alone$"
    ):
        walled(Parts(features, fixed), 16, construction="apart")
    assert certify(walled(Parts(features, fixed), 16)).last_row_seen == 15
    with pytest.raises(
        CamwallError, match=r"the Parts cannot take an input of shape \[2, 3, 32, 32\] \(.*\): "
    ):
        walled(Parts(features, nn.Sequential(nn.Flatten(), nn.Linear(7, 5))), 16)
    with pytest.raises(CamwallError, match=r"the network gives \[2, 5, 4, 4\], not scores"):
        walled(Parts(features, nn.Conv2d(4, 5, 1)), 16)
    flat = nn.Sequential(features, nn.Flatten())
    with pytest.raises(CamwallError, match=r"layer 0 of the Parts gives no maps \[N, V, h, w\]"):
        walled(Parts(flat, nn.Linear(64, 5)), 16)
    grey = nn.Sequential(nn.Conv2d(1, 4, 8, 8), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    with pytest.raises(CamwallError, match=r"the Parts cannot take an input of shape \[2, 3, 32"):
        walled(Parts(grey, head), 16)
    bare = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5))
    for construction in ("whole", "apart"):
        model = walled(Parts(nn.AvgPool2d(8), bare), 16, construction=construction)
        assert certify(model).last_row_seen == 15
