"""Methods of other packages, of the pixels and of attention: what the register says is so."""

import re
import sys
from pathlib import Path

import pytest
import pytorch_grad_cam
import torch
import torchcam.methods
import torchvision
import zennit.composites
from torch import Tensor, nn

from camwall import METHODS, CamwallError, Preprocessing, WalledModel, build_wall, explain, response
from camwall.methods import STUDIED, Evidence, Mechanism, Saliency, adapters, rise
from camwall.methods.adapters import captum
from camwall.methods.attention import ATTENTION, Attended
from camwall.methods.saliency import min_max
from camwall.models import without_wall
from tests.helpers.as_found import assert_same, snapshot, unsettle
from tests.helpers.networks import (
    Parts,
    efficientnet_like,
    images,
    randomise,
    resnet_like,
    vgg_like,
    walled,
)

OTHERS = [name for name in METHODS if name not in STUDIED]
#: Where each name of a package is found.
PLACES = {
    "grad-cam": vars(pytorch_grad_cam),
    "captum": captum.ATTRIBUTIONS,
    "torch-cam": vars(torchcam.methods),
    "zennit": vars(zennit.composites),
}


def transformer(seed: int = 0) -> torchvision.models.VisionTransformer:
    """Two blocks of two heads on 4×4 patches of 8 pixels, in double precision."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = torchvision.models.VisionTransformer(
            image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32,
            num_classes=6,
        )  # fmt: skip
    randomise(network, seed)
    nn.init.normal_(network.encoder.pos_embedding, std=0.5)
    return network.double().eval()


def walled_transformer(seed: int = 0) -> WalledModel:
    return build_wall(transformer(seed), 16, preprocessing=Preprocessing(resize=None, crop=32))


def pictures(model: WalledModel, count: int = 2) -> Tensor:
    return images(model, count).to(next(model.parameters()).dtype)


def test_each_package_has_what_the_register_says() -> None:
    """By the name that its adapter takes."""
    for method in METHODS.values():
        for engine, name in method.packages.items():
            assert name in PLACES[engine], (method.name, engine, name)


def test_enough_methods_each_with_its_paper() -> None:
    """At least 35 that are no variants, of every mechanism but one's own."""
    methods = [method for method in METHODS.values() if method.variant_of is None]
    assert len(methods) >= 35
    assert {m.mechanism for m in METHODS.values()} == set(Mechanism) - {Mechanism.OWN}


@pytest.mark.parametrize("name", OTHERS)
def test_the_register_says_who_looks(name: str) -> None:
    """The response is positive where `sees_through` says so, else exactly 0, the seed held.

    Guided GradCAM moves behind a wall through the map's cells, as the masked network's.
    """
    method = METHODS[name]
    model = efficientnet_like()
    if method.mechanism is Mechanism.ATTENTION:
        model = walled_transformer()
    elif method.mechanism is Mechanism.GUIDED_CAM:
        assert not response(model, pictures(model, 1), name).any()
        model = vgg_like()
    found = response(model, pictures(model, 1), name)
    assert (found > 0).all() if method.sees_through else (found == 0).all()
    assert (explain(model, pictures(model, 1), name) != 0).flatten(1).any(dim=1).all()


@pytest.mark.parametrize("engine", ["captum", "torch-cam", "zennit"])
def test_what_several_have_is_alike_behind_a_wall(engine: str) -> None:
    """Whichever package runs a method, it sees through or not."""
    model = efficientnet_like()
    for name, method in METHODS.items():
        if engine in method.engines[1:]:
            found = response(model, pictures(model, 1), name, engine=engine)  # type: ignore[arg-type]
            assert bool(found > 0) == method.sees_through, (name, engine)


@pytest.mark.parametrize("name", ["SmoothGrad", "LIME", "RISE", "SmoothGradCAM++", "LeGrad"])
def test_a_map_does_not_depend_on_the_others_of_its_batch(name: str) -> None:
    """Also of methods that draw; under another seed these draw others."""
    model = walled_transformer() if name == "LeGrad" else resnet_like().double()
    batch = pictures(model)
    both = explain(model, batch, name)
    alone = torch.cat([explain(model, image, name) for image in batch.split(1)])
    torch.testing.assert_close(both, alone, atol=1e-9, rtol=1e-9)
    drawn = Saliency(Evidence(model, batch), METHODS[name], seed=1).shown
    assert torch.equal(both, drawn) == (name == "LeGrad")


@pytest.mark.parametrize("name", ["FullGrad", "DeepLIFT", "CAM", "SS-CAM", "LRP-ε γ box", "RISE"])
def test_everything_is_as_found(name: str) -> None:
    """Hooks, flags, gradients, parameters and random state, by each package."""
    model = resnet_like()
    unsettle(model)
    batch = images(model, 1)
    before = snapshot(model, batch)
    explain(model, batch, name)
    assert_same(before, snapshot(model, batch))


def test_what_cannot_be_followed_is_refused_in_one_line() -> None:
    """Modules called twice; no attention; a head that CAM cannot read."""
    asked = {"DeepLIFT": "more than once", "LeGrad": "no attention", "CAM": "one linear layer"}
    for name, why in asked.items():
        with pytest.raises(CamwallError, match=why) as caught:
            explain(vgg_like(), images(vgg_like(), 1), name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("engine", PLACES)
def test_a_missing_extra_costs_one_line(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which says how to get it."""
    file = f"camwall.methods.adapters.{engine.replace('-', '_')}"
    package = {"grad-cam": "pytorch_grad_cam", "torch-cam": "torchcam"}.get(engine, engine)
    for name in [name for name in sys.modules if name.split(".")[0] == package or name == file]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    name = next(name for name, method in METHODS.items() if [*method.packages][:1] == [engine])
    with pytest.raises(CamwallError, match=rf"pip install 'camwall\[{engine}\]'"):
        explain(resnet_like(), images(resnet_like(), 1), name, engine=engine)  # type: ignore[arg-type]


def test_the_register_imports_no_package() -> None:
    """Each package is imported in the file of its name alone, which is imported when used."""
    room = Path(adapters.__file__).parents[1]
    found = {
        (path.stem, name)
        for path in room.rglob("*.py")
        for name in re.findall(r"^\s*(?:from|import) (\w+)", path.read_text("utf-8"), re.MULTILINE)
        if name in ("pytorch_grad_cam", "captum", "torchcam", "zennit", "sklearn")
    }
    files = {"grad_cam": "pytorch_grad_cam", "captum": "captum", "torch_cam": "torchcam"}
    assert found == {*files.items(), ("zennit", "zennit")}
    text = Path(adapters.__file__).read_text(encoding="utf-8")
    assert "import_module" in text
    assert not re.search(r"import (grad_cam|captum|torch_cam|zennit)", text)


# ---------------------------------------------------------------------------------------------
# Against what is written out by hand


def test_gradients_of_the_pixels() -> None:
    """Captum's, by autograd."""
    model = efficientnet_like().double()
    batch = pictures(model).requires_grad_()
    scores = model(batch)
    (gradient,) = torch.autograd.grad(scores.amax(dim=1).sum(), batch)
    near = {"atol": 1e-9, "rtol": 1e-9}
    torch.testing.assert_close(explain(model, batch, "Gradient"), gradient.abs().sum(1), **near)
    product = (gradient * batch).sum(dim=1).abs().detach()
    torch.testing.assert_close(explain(model, batch, "Input × gradient"), product, **near)


@pytest.mark.parametrize("name", ["GradCAM", "XGradCAM", "LayerCAM"])
def test_another_package_has_the_same_map(name: str) -> None:
    """torch-cam's, whose constants are others."""
    model = resnet_like()
    batch = images(model, 2)
    ours, theirs = (explain(model, batch, name, engine=e) for e in ("camwall", "torch-cam"))
    torch.testing.assert_close(ours, min_max(theirs), atol=1e-5, rtol=0)


def test_relevance_is_kept() -> None:
    """By the ε and z⁺ rules all of the 1 that the score starts with arrives at visible pixels."""
    layers = [nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 5, 3, bias=False), nn.ReLU()]
    dense = nn.Linear(5, 6, bias=False)
    parts = Parts(
        nn.Sequential(*layers), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), dense)
    )
    randomise(parts, 0)
    dense.weight.data.abs_()
    model = walled(parts.double().eval(), 20)
    found = explain(model, pictures(model), "LRP-ε z⁺")
    torch.testing.assert_close(found.sum(dim=(1, 2)), torch.ones(2).double(), atol=1e-4, rtol=0)
    assert not found[:, model.wall.hidden].any()


def test_rise_written_out() -> None:
    """One mask after the other."""
    model = resnet_like().double()
    batch = pictures(model, 1)
    torch.manual_seed(3)
    masks = rise.random_masks(rise.MASKS, 32, 32).double()
    torch.manual_seed(3)
    found = rise.rise(model, batch, torch.tensor([2]))
    wanted = torch.zeros(32, 32).double()
    for mask in masks:
        wanted += float(model(batch * mask).softmax(dim=1)[0, 2].detach()) * mask / (rise.MASKS / 2)
    torch.testing.assert_close(found[0], wanted, atol=1e-9, rtol=1e-9)
    assert 0 <= masks.min() < 0.01
    assert 0.99 < masks.max() < 1 + 1e-6
    assert abs(masks.mean() - 0.5) < 0.05


def by_hand(network: torchvision.models.VisionTransformer, batch: Tensor, blocks: int) -> tuple:
    """Scores without the later blocks, and each block's attention [N, heads, T, T]."""
    tokens = network._process_input(batch)
    tokens = torch.cat([network.class_token.expand(len(batch), -1, -1), tokens], dim=1)
    tokens, attention = tokens + network.encoder.pos_embedding, []
    for block in network.encoder.layers[:blocks]:
        inner = block.self_attention
        normed = block.ln_1(tokens)
        query, key, value = (
            part.unflatten(2, (2, 8)).transpose(1, 2)
            for part in (normed @ inner.in_proj_weight.T + inner.in_proj_bias).chunk(3, dim=2)
        )
        attention.append((query @ key.transpose(2, 3) / 8**0.5).softmax(dim=3))
        mixed = (attention[-1] @ value).transpose(1, 2).flatten(2)
        tokens = tokens + inner.out_proj(mixed)
        tokens = tokens + block.mlp(block.ln_2(tokens))
    return network.heads(network.encoder.ln(tokens)[:, 0]), attention


def test_attention_written_out() -> None:
    """Every method of attention, from a transformer written out by hand, in double precision."""
    network, target = transformer(), torch.tensor([1, 4])
    model = without_wall(network, 16, preprocessing=Preprocessing(resize=None, crop=32))
    batch = pictures(model)
    attended = Attended(model, batch.clone(), target)
    scores, (first, last) = by_hand(network, batch, 2)
    torch.testing.assert_close(attended.score, scores.gather(1, target[:, None]).sum())
    total = scores.gather(1, target[:, None]).sum()
    of_first, of_last = torch.autograd.grad(total, (first, last), retain_graph=True)
    early, (alone,) = by_hand(network, batch, 1)
    (of_alone,) = torch.autograd.grad(early.gather(1, target[:, None]).sum(), alone)
    one = torch.eye(17).double()

    def carried(attention: Tensor, gradient: Tensor) -> Tensor:
        return (attention * gradient).clamp(min=0).mean(dim=1)

    mean_of = [each.clamp(min=0).mean(dim=(1, 2)) for each in (of_alone, of_last)]
    products = [
        (a * g.clamp(min=0)).mean(dim=(1, 2)) for a, g in ((first, of_first), (last, of_last))
    ]
    relevance = one + carried(first, of_first)
    wanted = {
        "Raw attention": last.mean(dim=1)[:, 0],
        "Attention rollout": ((last.mean(1) + one) / 2 @ ((first.mean(1) + one) / 2))[:, 0],
        "Gradient × attention": (products[0] + products[1]) / 2,
        "Generic attention": (relevance + carried(last, of_last) @ relevance)[:, 0],
        "LeGrad": (mean_of[0] + mean_of[1]) / 2,
    }
    assert wanted.keys() == ATTENTION.keys()
    for name, tokens in wanted.items():
        found = ATTENTION[name](model, batch.clone(), target)
        torch.testing.assert_close(found, attended.shown(tokens), atol=1e-10, rtol=1e-8)
