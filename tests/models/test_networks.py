"""Architectures of torchvision, timm and transformers: behind walls, and had by name."""

import json
from pathlib import Path

import pandas as pd
import pytest
import timm
import torch
import torchvision
import transformers
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from camwall import CamwallError, Preprocessing, build_wall, certify, response
from camwall.commands import survey
from camwall.commands.cli import app
from camwall.commands.survey import ARCHITECTURES, architecture, walls
from camwall.config import quick
from camwall.models import WalledModel
from camwall.models.layer import Layer
from camwall.models.library import load_network, named_model

#: Maps as NCHW, as NHWC and as tokens, with a class token before them and without.
FEW = {
    ("torchvision", "squeezenet1_1"): "classifier.2 (NCHW)",
    ("timm", "swin_tiny_patch4_window7_224"): "norm (NHWC)",
    ("timm", "levit_128s"): "stages (tokens)",
    ("transformers", "vit"): "vit.layers.2 (tokens after 1)",
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two images that are smooth here and there."""
    folder, found = tmp_path_factory.mktemp("photographs"), []
    for seed in range(2):
        coarse = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(seed))
        pixels = nn.functional.interpolate(coarse, (224, 224), mode="bicubic")[0].clamp(0, 1)
        found.append(folder / f"{seed}.png")
        Image.fromarray((255 * pixels).byte().permute(1, 2, 0).numpy()).save(found[-1])
    return found


def repainted(model: WalledModel, images: Tensor, seed: int) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return torch.where(model.wall.hidden, 10 * noise, images)


@pytest.mark.parametrize(("library", "name"), list(FEW) if quick() else ARCHITECTURES)
def test_behind_walls_of_every_kind(library: str, name: str, photographs: list[Path]) -> None:
    """No score and no gradient knows a hidden pixel; HiResCAM does not respond, GradCAM does."""
    network, way, _ = architecture(library, name, photographs)
    images = way.load(photographs)
    for shape, wall in walls(*way.size).items():
        model = build_wall(network, wall, preprocessing=way)
        assert str(model.layer) == FEW.get((library, name), str(model.layer))
        cells = model.visible_cells
        assert 0 < int(cells.sum()) < cells.numel(), shape
        with torch.no_grad():
            scores = model(images)
            assert torch.equal(model(repainted(model, images, 1)), scores), shape
            maps = model.features(images)
            moved = model.features(repainted(model, images, 1)) != maps
        assert not moved[:, :, cells].any(), shape
        assert moved[:, :, ~cells].any(), shape
        assert not torch.equal(scores[0], scores[1]), shape
        given = images.clone().requires_grad_()
        weights = torch.randn(scores.shape, generator=torch.Generator().manual_seed(2))
        (gradient,) = torch.autograd.grad((model(given) * weights).sum(), given)
        assert not gradient[:, :, wall.hidden].any(), shape
        assert gradient[:, :, ~wall.hidden].any(dim=1).float().mean() > 0.5, shape
        assert not response(model, images, "HiResCAM", repaints=["noise"]).any(), shape
        assert response(model, images, "GradCAM++", repaints=["noise"]).any(), shape
    if not quick():
        certify(model, probes=1, repaints=2)


def test_weights_without_effect_are_drawn_anew(photographs: list[Path]) -> None:
    """A ViT's head and class token, ConvNeXt's layer scales; not norms, which start at 1."""
    own = torchvision.models.vit_b_32(num_classes=10)
    assert not own.heads.head.weight.any()
    network, _, drawn = architecture("torchvision", "vit_b_32", photographs)
    assert drawn == 2
    assert network.class_token.detach().min() >= 0.5
    assert 0.015 < float(network.heads.head.weight.detach().std()) < 0.025
    network, _, drawn = architecture("transformers", "convnext", photographs)
    scales = [p.detach() for name, p in network.named_parameters() if "layer_scale" in name]
    assert drawn == len(scales) == 8
    assert all(0.5 <= float(p.min()) < float(p.max()) <= 1.5 for p in scales)
    assert (network.convnext.layernorm.weight == 1).all()


def test_batch_norms_have_the_statistics_of_their_images(photographs: list[Path]) -> None:
    """The first one's mean is that of what it is given; the caller's random numbers go on."""
    state = torch.get_rng_state()
    network, way, _ = architecture("torchvision", "resnet18", photographs)
    assert torch.equal(torch.get_rng_state(), state)
    assert way == Preprocessing(resize=160, crop=160)
    with torch.no_grad():
        images = network.conv1(way.load(photographs)).mean(dim=(0, 2, 3))
    noise = 2 * network.bn1.running_mean - images  # half of the images are noise
    assert (noise - images).abs().max() > 0.01
    pixels = torch.rand(64, 3, 160, 160, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = network.conv1(way.normalize(pixels)).mean(dim=(0, 2, 3))
    torch.testing.assert_close(noise, expected, atol=0.02, rtol=0)
    assert not network.training
    assert not any(module.training for module in network.modules())


# ---------------------------------------------------------------------------------------------
# The survey


def test_the_survey_goes_on_where_it_was_killed(
    photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An architecture that fails has rows that say why; what is done is not done again."""
    monkeypatch.setattr(
        survey, "ARCHITECTURES", [("torchvision", "squeezenet1_1"), ("timm", "no_such")]
    )
    made = survey.architecture
    with monkeypatch.context() as patch:

        def killed(library: str, *given: object) -> object:
            if library == "timm":
                raise KeyboardInterrupt
            return made(library, *given)

        patch.setattr(survey, "architecture", killed)
        with pytest.raises(KeyboardInterrupt):
            survey.survey(tmp_path / "out", images=photographs[0].parent, progress=False)
    done = (tmp_path / "out" / "records" / "records-0000.jsonl").read_text()
    counts = survey.survey(tmp_path / "out", images=photographs[0].parent, progress=False)
    assert (tmp_path / "out" / "records" / "records-0000.jsonl").read_text().startswith(done)
    assert counts.loc["torchvision", "certified"].tolist() == [1] * 4
    assert counts.loc["timm", "certified"].tolist() == [0] * 4
    table = pd.read_csv(tmp_path / "out" / "table.csv", keep_default_na=False)
    refused = table[table["library"] == "timm"]["refused"]
    assert list(table["wall"]) == 2 * ["rows", "columns", "quadrant", "border"]
    assert refused.str.match("RuntimeError: Unknown model").all()
    assert (table["refused"][:4] == "").all()
    assert (table["proved"][:4] == "True").all()
    records = pd.read_csv(tmp_path / "out" / "records.csv").set_index("method")
    assert len(records) == 4 * 2 * len(survey.METHODS)
    assert not records.loc["HiResCAM", "response"].any()
    assert not records.loc["LayerCAM", "response"].any()
    assert (records.loc["GradCAM++", "response"] > 0).all()
    with pytest.raises(CamwallError, match="unknown architectures resnet18, vgg"):
        survey.survey(tmp_path / "out", only=["vgg", "resnet18"], progress=False)


# ---------------------------------------------------------------------------------------------
# By name, with weights from a file


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A folder as those of the Hugging Face hub: configuration, processor, weights."""
    config = transformers.ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        image_size=48,
        patch_size=16,
        num_labels=3,
        id2label={0: "cat", 1: "dog", 2: "newt"},
    )
    torch.manual_seed(1)
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "tiny")
    size = {"height": 48, "width": 48}
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    made = transformers.ViTImageProcessor(size=size, image_mean=mean, image_std=std)
    made.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def as_saved(network: nn.Module, own: nn.Module) -> bool:
    pairs = zip(network.state_dict().items(), own.state_dict().items(), strict=True)
    return all(name == key and torch.equal(a, b) for (name, a), (key, b) in pairs)


@pytest.mark.parametrize(
    ("name", "make", "layer", "size"),
    [
        ("squeezenet1_1", torchvision.models.squeezenet1_1, "features.9", 224),
        ("timm:tinynet_e", lambda: timm.create_model("tinynet_e"), "blocks.4", 106),
    ],
)
def test_weights_from_a_file(name: str, make, layer: str, size: int, tmp_path: Path) -> None:
    """A state dict of the library's network: nothing is downloaded, and the layer is as asked."""
    torch.manual_seed(2)
    own = make().eval()
    file = tmp_path / "weights.pt"
    torch.save(own.state_dict(), file)
    network, _ = load_network(name, file)
    assert as_saved(network, own)
    assert not network.training
    model = named_model(name, wall=size // 2, layer=layer, weights=file)
    assert model.layer == Layer(layer)
    assert model.preprocessing.size == (size, size)
    assert model.class_names[:2] == ("tench", "goldfish")
    torch.save({"features.0.weight": torch.zeros(3)}, file)
    with pytest.raises(CamwallError, match=r"the weights in .*weights.pt do not fit") as caught:
        load_network(name, file)
    assert "\n" not in str(caught.value)


def test_a_network_of_transformers_by_its_folder(tiny: Path, tmp_path: Path) -> None:
    """With the weights that lie there, or those of a file; its processor and its class names."""
    own = transformers.ViTForImageClassification.from_pretrained(tiny).eval()
    model = named_model(f"hf:{tiny}", wall=32)
    assert as_saved(model.trunk, own)
    assert model.preprocessing == Preprocessing(
        (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), resize=48, crop=48
    )
    assert model.class_names == ("cat", "dog", "newt")
    images = torch.randn(1, 3, 48, 48)
    assert torch.equal(model(repainted(model, images, 0)), model(images))
    for value in own.parameters():
        nn.init.normal_(value, std=0.1)
    torch.save(own.state_dict(), tmp_path / "other.pt")
    assert as_saved(load_network(f"hf:{tiny}", tmp_path / "other.pt")[0], own)


@pytest.mark.parametrize("command", ["certify", "check"])
def test_the_commands_take_a_layer_and_weights(
    command: str, tiny: Path, photographs: list[Path], tmp_path: Path
) -> None:
    """`camwall certify` and `camwall check`, whose folder is one layer's."""
    network = transformers.ViTForImageClassification.from_pretrained(tiny)
    torch.save(network.state_dict(), tmp_path / "own.pt")
    options = ["--weights", str(tmp_path / "own.pt"), "--wall", "32"]
    layers = [["--layer", "vit.embeddings"], []]
    if command == "certify":
        for layer in layers:
            found = CliRunner().invoke(app, ["certify", f"hf:{tiny}", *options, *layer])
            assert found.exit_code == 0, found.output
            assert "blind to rows 32–47 of 48×48" in found.output
        return
    out = tmp_path / "out"
    asked = [f"hf:{tiny}", str(photographs[0].parent), "--methods", "HiResCAM", "--out", str(out)]
    found = CliRunner().invoke(app, ["check", *options, *asked, *layers[0]])
    assert found.exit_code == 0, found.output
    given = json.loads((out / "manifest.json").read_text())["parameters"]
    assert given["layer"] == "vit.embeddings"
    assert given["weights"] == "own.pt"
    found = CliRunner().invoke(app, ["check", *options, *asked, *layers[1]])
    assert "holds another run (another layer" in found.output
