"""Networks of other libraries: what they say of their images, by name, with weights of a file."""

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from camwall import CamwallError, Preprocessing, build_wall
from camwall.models.library import load_network, named_model
from camwall.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, preparation

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")


def prepared(given: object) -> Preprocessing:
    return preparation(nn.Identity(), given, 1)


def test_torchvisions_weights_and_their_transforms() -> None:
    """Resize, crop and interpolation of each, as torchvision's own transform makes them."""
    weights = torchvision.models.get_model_weights("inception_v3").DEFAULT
    expected = Preprocessing(IMAGENET_MEAN, IMAGENET_STD, 342, 299)
    assert prepared(weights) == prepared(weights.transforms()) == expected
    bicubic = torchvision.models.get_model_weights("swin_v2_t").DEFAULT
    found = prepared(bicubic)
    assert (found.resize, found.crop, found.bicubic) == (260, 256, True)
    image = torch.rand(3, 300, 400, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.normalize(found.fitted(image)), bicubic.transforms()(image))


def test_timms_config() -> None:
    """Of the network itself, and as timm resolves it; as timm's own transform makes them."""
    network = timm.create_model("test_vit")
    config = timm.data.resolve_model_data_config(network)
    expected = Preprocessing((0.5,) * 3, (0.5,) * 3, 168, 160, bicubic=True)
    assert preparation(network, None, 1) == prepared(config) == expected
    assert prepared({**config, "input_size": (3, 96, 128), "crop_pct": None}).size == (96, 128)


SIZES = {
    "one size": ({"size": {"height": 30, "width": 30}}, 30, 30),
    "a crop": (
        {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 28}},
        40,
        (32, 28),
    ),
    "an edge": ({"size": {"shortest_edge": 48}, "crop_pct": 0.875}, 54, 48),
}


@pytest.mark.parametrize("name", SIZES)
def test_transformers_processors(name: str) -> None:
    """Their sizes, said in one way or another, and what they normalise with."""
    given, resize, crop = SIZES[name]
    kind = transformers.ConvNextImageProcessor if "pct" in str(given) else None
    kind = kind or transformers.BeitImageProcessor
    processor = kind(**given, image_mean=[0.5, 0.25, 0.5], image_std=[0.5] * 3, resample=3)
    processor.do_center_crop = name == "a crop"
    assert prepared(processor) == Preprocessing((0.5, 0.25, 0.5), (0.5,) * 3, resize, crop, True)


def test_what_says_nothing_is_refused() -> None:
    """In one line that says what does."""
    for given in (3, {"mean": (0.0,)}, object(), nn.Identity()):
        with pytest.raises(
            CamwallError, match=r"for a Identity is not known \(.*\): give"
        ) as caught:
            prepared(given)
        assert "\n" not in str(caught.value)


def test_a_state_dict_in_place_of_a_download(tmp_path: Path) -> None:
    """Of torchvision, timm and transformers: built without weights, then given the file's."""
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=64,
    )
    config.id2label = {0: "cat", 1: "dog", 2: "hen"}
    config.label2id = {"cat": 0, "dog": 1, "hen": 2}
    folder = tmp_path / "vit"
    config.save_pretrained(folder)
    size = {"height": 64, "width": 64}
    transformers.ViTImageProcessor(size=size).save_pretrained(folder)
    made = {
        "squeezenet1_1": torchvision.models.squeezenet1_1(),
        "timm:test_resnet": timm.create_model("test_resnet"),
        f"hf:{folder}": transformers.ViTForImageClassification(config),
    }
    for name, network in made.items():
        torch.save(network.state_dict(), tmp_path / "weights.pt")
        loaded, _ = load_network(name, tmp_path / "weights.pt")
        assert not loaded.training
        for (key, value), own in zip(
            network.state_dict().items(), loaded.state_dict().values(), strict=True
        ):
            assert torch.equal(value, own), key
        model = named_model(name, wall=32 if "hf" in name else 96, weights=tmp_path / "weights.pt")
        assert "NCHW" in str(model.layer) or "tokens after 1" in str(model.layer)
    assert model.class_names == ("cat", "dog", "hen")
    assert model.preprocessing.size == (64, 64)
    with pytest.raises(CamwallError, match=r"weights\.pt do not fit the network \(.*Missing key"):
        load_network("resnet18", tmp_path / "weights.pt")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        (
            "efficientnet",
            "unknown network 'efficientnet'; known: efficientnet-lite0, efficientnet-lite1, timm:",
        ),
        ("keras_of_mine:resnet50", r"keras_of_mine:resnet50 cannot be imported \(No module"),
        ("timm:nothing_of_that_name", r"the weights of timm:nothing_of_that_name cannot be had \("),
        ("hf:/no/such/folder", r"the weights of hf:/no/such/folder cannot be had \("),
    ],
)
def test_names_that_nobody_has(name: str, match: str) -> None:
    """One line each."""
    with pytest.raises(CamwallError, match=match) as caught:
        named_model(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("row", [160.0, None, [160], torch.tensor(160)])
def test_what_is_no_wall_is_refused_of_any_network(row: object) -> None:
    """Also where the images' size is asked of it first."""
    with pytest.raises(CamwallError, match=r"a wall is (its first hidden row|a bool tensor)"):
        build_wall(torchvision.models.squeezenet1_1(), row)  # type: ignore[arg-type]


def test_efficientnets_of_torchvision_are_walled() -> None:
    """As any network is."""
    network = torchvision.models.efficientnet_b0(num_classes=5)
    assert str(build_wall(network, 160).layer) == "features (NCHW)"


def test_walls_are_built_in_inference_mode() -> None:
    """Where no gradient could be taken."""
    network = torchvision.models.squeezenet1_1(num_classes=5)
    with torch.inference_mode():
        assert build_wall(network, 160).layer == build_wall(network, 160).layer
