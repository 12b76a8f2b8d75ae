"""Layers of every kind, and the rest after them, on small networks made by hand."""

import threading
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import register_pytree_node

from camwall import CamwallError, Preprocessing, Wall, build_wall, certify, explain
from camwall.models import WalledModel
from camwall.models.layer import Layer, find_layer, scores_of
from camwall.models.rest import find_rest
from tests.helpers.as_found import HOOKS
from tests.helpers.networks import PLAIN, Parts, randomise

CLASSES, CELLS, CHANNELS = 5, 8, 6


def conv() -> nn.Module:
    """Images of 32×32 to 6 maps of 8×8, each cell from 8×8 pixels."""
    return nn.Sequential(nn.Conv2d(3, CHANNELS, 8, 4, 2), nn.Tanh())


class Mean(nn.Module):
    """Scores of the means of maps [N, V, h, w]."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(CHANNELS, CLASSES)

    def forward(self, maps: Tensor) -> Tensor:
        return self.dense(maps.mean(dim=(2, 3)))


class Mapping(dict):
    """As transformers' ModelOutput: made of keywords, ordered, read by name."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)

    def __getattr__(self, name: str) -> Any:
        return self[name]


# As transformers does with each ModelOutput.
register_pytree_node(
    Mapping,
    lambda mapping: (list(mapping.values()), list(mapping)),
    lambda values, keys: Mapping(**dict(zip(keys, values, strict=True))),
)


class Named(NamedTuple):
    """Of a layer that gives more than its maps."""

    maps: Tensor
    aside: Tensor


class Given(nn.Module):
    """Maps in the form that ``form`` gives them."""

    def __init__(self, form: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.form = conv(), form

    def forward(self, images: Tensor) -> Any:
        return self.form(self.inner(images))


class Net(nn.Module):
    """``layer``, then what ``back`` makes maps again of, then scores."""

    def __init__(
        self, form: Callable[[Tensor], Any], back: Callable[[Any], Tensor], seed: int = 0
    ) -> None:
        super().__init__()
        self.layer, self.back, self.head = Given(form), back, Mean()
        randomise(self, seed)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.back(self.layer(images)))


def tokens(prefix: int) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Maps to tokens after some others, which are means over the map; and both to maps again."""

    def form(maps: Tensor) -> Tensor:
        before = maps.mean(dim=(2, 3))[:, None].expand(-1, prefix, -1)
        return torch.cat([before, maps.flatten(2).mT], dim=1)

    def back(values: Tensor) -> Tensor:
        maps = values[:, prefix:].mT.unflatten(2, (CELLS, CELLS))
        return maps if not prefix else maps + values[:, :prefix].mean(dim=1)[:, :, None, None]

    return form, back


#: How a layer gives its maps, how the network goes on from there, and what `Layer` says of it.
FORMS: dict[str, tuple[Callable, Callable, str]] = {
    "NCHW": (lambda m: m, lambda v: v, "NCHW"),
    "NHWC": (lambda m: m.permute(0, 2, 3, 1), lambda v: v.permute(0, 3, 1, 2), "NHWC"),
    "tokens": (*tokens(0), "tokens"),
    "tokens after 1": (*tokens(1), "tokens after 1"),
    "tokens after 5": (*tokens(5), "tokens after 5"),
    "tuple": (lambda m: (m, None, 3), lambda v: v[0] * v[2], "NCHW"),
    "list": (lambda m: [m, [m.mean()]], lambda v: v[0], "NCHW"),
    "named tuple": (lambda m: Named(m, m.new_ones(1)), lambda v: v.maps * v.aside, "NCHW"),
    "dict": (lambda m: {"maps": m}, lambda v: v["maps"], "NCHW"),
    "ModelOutput": (lambda m: Mapping(maps=m, aside=None), lambda v: v.maps, "NCHW"),
}


def noise(count: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def blind(model: WalledModel) -> None:
    """Certified; every way to the scores gives the same, and a map can be had of each engine."""
    batch = noise()
    other = torch.where(model.wall.hidden, noise(2, 1), batch)
    assert certify(model, probes=1, repaints=2).last_row_seen == model.wall.row - 1
    with torch.no_grad():
        scores, maps = model(batch), model.features(batch)
        assert torch.equal(model(other), scores)
        assert not torch.equal(model.features(other), maps)
        assert torch.equal(model.repainted(maps, other), model.features(other))
        torch.testing.assert_close(model.scores(batch), scores)
        torch.testing.assert_close(model.head(maps, batch), scores)
    for method in ("GradCAM", "ScoreCAM", "AblationCAM"):
        ours, theirs = (
            explain(model, batch, method, 1, engine=engine)  # type: ignore[arg-type]
            for engine in ("camwall", "grad-cam")
        )
        if method != "AblationCAM":  # whose grad-cam writes no 0 into maps of either sign
            torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("construction", ["whole", "apart"])
def test_maps_in_every_form(name: str, construction: str) -> None:
    """They are read, changed and put back, and the network goes on from there."""
    form, back, said = FORMS[name]
    network = Net(form, back).eval()
    if construction == "apart" and "tokens" in name:
        with pytest.raises(CamwallError, match="it gets one side alone") as caught:
            build_wall(network, 16, "layer", construction="apart", preprocessing=PLAIN)
        assert "\n" not in str(caught.value)
        return
    model = build_wall(network, 16, "layer", construction=construction, preprocessing=PLAIN)  # type: ignore[arg-type]
    assert str(model.layer) == f"layer ({said})"
    batch = noise()
    if construction == "whole":
        m = model.visible_cells
        with torch.no_grad():
            of_painted = network.layer.inner(batch.masked_fill(model.wall.hidden, 0.0))
            expected = torch.where(m, of_painted, network.layer.inner(batch))
            assert torch.equal(model.features(batch), expected)
    blind(model)


@pytest.mark.parametrize("name", FORMS)
def test_maps_out_and_in_again(name: str) -> None:
    """`put` undoes `maps`, and keeps what else the layer gave, and its kind."""
    form, back, _ = FORMS[name]
    network = Net(form, back).eval()
    layer = find_layer(network, noise(), "layer")
    with torch.no_grad():
        output = layer.output(network, noise())
        maps = layer.maps(output, (32, 32))
        assert torch.equal(maps, network.layer.inner(noise()))
        again = layer.put(output, maps)
        assert type(again) is type(output)
        assert torch.equal(network.head(back(again)), network(noise()))
        assert torch.equal(layer.maps(layer.put(output, 2 * maps), (32, 32)), 2 * maps)
        assert torch.equal(layer.maps(output, (32, 32)), maps), "the output itself is as it was"


def test_a_layer_is_found_by_its_module_too() -> None:
    """The name and the module mean the same layer."""
    network = Net(*FORMS["NCHW"][:2]).eval()
    named, given = (find_layer(network, noise(), at) for at in ("layer", network.layer))
    assert named == given == Layer("layer")


class Twice(nn.Module):
    """One block, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = conv(), nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.Tanh())
        self.head = Mean()
        randomise(self, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.block(self.block(self.stem(images))))


def test_of_a_module_that_is_called_twice_the_last_call_counts() -> None:
    """The first goes on as it was."""
    network = Twice().eval()
    model = build_wall(network, 16, "block", preprocessing=PLAIN)
    assert model.layer == Layer("block", call=1)
    assert str(model.layer) == "block (NCHW, call 2)"
    with torch.no_grad():
        painted = noise().masked_fill(model.wall.hidden, 0.0)
        of_painted = network.block(network.block(network.stem(painted)))
        visible = model.features(noise())[:, :, :4]
        assert torch.equal(visible, of_painted[:, :, :4])
    blind(model)


class InPlace(nn.Module):
    """As DenseNet: an operation in place on what the layer gave."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = conv(), Mean()
        randomise(self, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(nn.functional.relu(self.features(images), inplace=True))


def test_an_operation_in_place_after_the_layer_changes_no_map() -> None:
    """Maps of either sign come out as the layer gave them, also to a second use."""
    model = build_wall(InPlace().eval(), 16, "features", preprocessing=PLAIN)
    with torch.no_grad():
        maps = model.features(noise())
        assert (maps < 0).any()
        seen: list[Tensor] = []
        model.target_layer.register_forward_hook(lambda *found: seen.append(found[2].clone()))
        model(noise())
        assert torch.equal(seen[0], maps)
        model.head(maps, noise())
        assert torch.equal(maps, model.features(noise())), "head leaves its argument as it is"
    blind(build_wall(InPlace().eval(), 16, "features", preprocessing=PLAIN))


class Skipping(nn.Module):
    """A residual passes the layer by."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = conv(), nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.last, self.head = nn.Tanh(), Mean()
        randomise(self, 4)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images)
        return self.head(self.last(maps + self.block(maps)))


def test_a_residual_that_skips_the_layer_is_run_on_the_images() -> None:
    """The rest needs more than the maps, and says so; what it needs is of x̃, and blind."""
    model = build_wall(Skipping().eval(), 16, "block", preprocessing=PLAIN)
    assert model.rest.chain is None
    assert model.rest.carrier is None
    assert str(model.rest).startswith("run with the whole network, on the images")
    with pytest.raises(CamwallError, match="give head the images too") as caught:
        model.head(model.features(noise()))
    assert "\n" not in str(caught.value)
    blind(model)
    assert build_wall(Skipping().eval(), 16, preprocessing=PLAIN).layer.name == "last"


def chain(middle: nn.Module) -> Parts:
    """A layer, another after it, and scores."""
    tail = nn.Sequential(middle, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = Parts(conv(), nn.Sequential(*tail, nn.Linear(CHANNELS, CLASSES)))
    randomise(network, 5)
    return network.eval()


class Turned(nn.Module):
    """What no chain of the modules inside it tells."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return self.inner(maps.flip(1)) * maps


def test_the_rest_after_a_middle_layer() -> None:
    """Run by itself where the layers after it are a chain, else on the smallest image that does."""
    network = chain(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1))
    model = build_wall(network, 16, "0", preprocessing=PLAIN)
    assert model.rest.chain is not None
    assert str(model.rest) == "run by itself"
    with torch.no_grad():
        maps = model.read(model.features(noise()))
        torch.testing.assert_close(model.rest.chain(maps), network.head(maps))
    blind(model)
    network = chain(Turned())
    model = build_wall(network, 16, "0", preprocessing=PLAIN)
    assert model.rest.chain is None
    assert model.rest.carrier is not None
    assert model.rest.carrier.shape[2:] < (32, 32)
    assert str(model.rest) == "run with the whole network, on an image of {}×{}".format(
        *model.rest.carrier.shape[2:]
    )
    with torch.no_grad():
        maps = model.read(model.features(noise(3)))
        found = model.rest(maps, model.layer.output(network, noise(3)), noise(3))
        torch.testing.assert_close(found, network.head(maps))
    blind(model)


def test_the_rest_goes_where_the_model_goes() -> None:
    """The copy that runs it has buffers of its own, which no cast of the model would reach."""
    network = chain(nn.Sequential(Turned(), nn.BatchNorm2d(CHANNELS)))
    model = build_wall(network, 16, "0", preprocessing=PLAIN)
    assert model.rest.chain is None
    model.double()
    batch = noise().double()
    with torch.no_grad():
        maps = model.read(model.features(batch))
        found = model.rest(maps, model.layer.output(model.trunk, batch), batch)
        torch.testing.assert_close(found, model(batch))


class Attention(nn.Module):
    """Each token reads all of them."""

    def __init__(self, own: bool) -> None:
        super().__init__()
        self.dense, self.own = nn.Linear(CHANNELS, CHANNELS), own

    def forward(self, values: Tensor) -> Tensor:
        return values + torch.tanh(self.dense(values.mean(dim=1, keepdim=True) + values))


class ViT(nn.Module):
    """A class token, blocks, and scores of the class token alone."""

    def __init__(self, prefix: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 4, 4)
        self.first = nn.Parameter(torch.randn(1, prefix, CHANNELS))
        self.blocks = nn.Sequential(*(Attention(True) for _ in range(3)))
        self.head = nn.Linear(CHANNELS, CLASSES)
        randomise(self, 6)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.stem(images).flatten(2).mT
        if patches.shape[1] != CELLS**2:
            raise AssertionError(f"Input height ({images.shape[2]}) doesn't match model (32).")
        first = self.first.expand(len(images), -1, -1)
        return self.head(self.blocks(torch.cat([first, patches], dim=1))[:, 0])


@pytest.mark.parametrize("prefix", [1, 5])
def test_the_default_is_the_last_layer_whose_cells_reach_the_scores(prefix: int) -> None:
    """Of a ViT the patches of the last block have no gradient: it is the block before."""
    torch.manual_seed(0)
    network = ViT(prefix).eval()
    model = build_wall(network, 16, preprocessing=PLAIN)
    assert model.layer == Layer("blocks.1", kind="tokens", prefix=prefix)
    blind(model)


def test_the_default_carries_all_of_the_image() -> None:
    """A branch that only a part of the image takes is passed over."""
    assert find_layer(Skipping().eval(), noise()).name == "last"
    assert find_layer(Twice().eval(), noise()) == Layer("block", call=1)
    assert find_layer(Net(*FORMS["NCHW"][:2]).eval(), noise()).name == "layer"


def test_the_network_is_left_as_found() -> None:
    """Hooks, gradients, weights and buffers; the mode of each module of one that is refused."""
    network = nn.Sequential(
        nn.Conv2d(3, 6, 4, 4), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    network.append(nn.Linear(6, CLASSES))
    randomise(network, 7)
    for index, parameter in enumerate(network.parameters()):
        parameter.requires_grad_(index % 3 != 1)
        if parameter.requires_grad and index % 2:
            parameter.grad = torch.full_like(parameter, float(index))
    network[2].register_forward_hook(lambda *_: None)

    def state() -> list[Any]:
        found: list[Any] = [torch.is_grad_enabled(), torch.get_rng_state().tolist()]
        for name, module in network.named_modules():
            found += [name, id(module), *(list(getattr(module, hooks)) for hooks in HOOKS)]
        for name, value in network.named_parameters():
            grad = None if value.grad is None else value.grad.tolist()
            found += [name, id(value), value.tolist(), value.requires_grad, id(value.grad), grad]
        return found + [[n, id(b), b.tolist()] for n, b in network.named_buffers()]

    def modes() -> list[bool]:
        return [module.training for module in network.modules()]

    network.eval()
    for options in ({}, {"layer": "2"}, {"layer": network[1]}, {"construction": "apart"}):
        before = state(), modes()
        build_wall(network, 16, preprocessing=PLAIN, **options).rest  # noqa: B018 - is found here
        assert (state(), modes()) == before
    for index, module in enumerate(network.modules()):
        module.training = index % 2 == 0
    before = state(), modes()
    for options in ({"layer": "9"}, {"layer": "4"}, {"visible_cells": torch.ones(8, 8)}):
        with pytest.raises(CamwallError):
            build_wall(network, 16, preprocessing=PLAIN, **options)
        assert (state(), modes()) == before


class Unlike(nn.Module):
    """Whatever ``give`` makes of the maps and the images."""

    def __init__(self, give: Callable[..., Any]) -> None:
        super().__init__()
        self.stem, self.unused, self.head = conv(), nn.Conv2d(3, 2, 1), Mean()
        self.aside = nn.Conv2d(CHANNELS, 2, 1)
        self.give = give
        randomise(self, 8)

    def forward(self, images: Tensor) -> Any:
        return self.give(self, self.stem(images))


def plainly(network: Unlike, maps: Tensor) -> Tensor:
    return network.head(maps)


def beside(network: Unlike, maps: Tensor) -> Tensor:
    network.aside(maps)
    return network.head(maps)


class Locked(Unlike):
    """A network with something that no copy has."""

    def __init__(self) -> None:
        super().__init__(plainly)
        self.lock = threading.Lock()


@pytest.mark.parametrize(
    ("give", "call", "match"),
    [
        (lambda n, m: m, {}, r"the network gives \[2, 6, 8, 8\], not scores \[N, classes\]: wrap"),
        (lambda n, m: (n.head(m),), {}, r"the network gives tuple, not scores \[N, classes\]"),
        (lambda n, m: n.head(m)[:, 0], {}, r"the network gives \[2\], not scores"),
        (lambda n, m: n.head(m) + torch.rand(1), {}, "gives other scores from call to call on the"),
        (lambda n, m: n.head(m).zero_(), {}, "the same scores for two different images: load its"),
        (plainly, {"layer": "unused"}, "does not reach its layer unused: name one that every"),
        (
            beside,
            {"layer": "aside"},
            r"the layer aside of the Unlike gives no maps .* that its scores read: name another",
        ),
        (plainly, {"layer": "stam"}, "has no layer 'stam'; near it are stem"),
        (plainly, {"layer": 3}, "has no layer 3; near it are "),
        (plainly, {"layer": nn.ReLU()}, "the layer ReLU is no part of the Unlike"),
        (plainly, {"layer": "head"}, r"the layer head of the Unlike gives no maps \[N, V, h, w\]"),
        (plainly, {"layer": "head.dense"}, "gives no maps .*: name another, or none for the last"),
        (plainly, {"preprocessing": None}, "how images are prepared for a Unlike is not known"),
        (
            plainly,
            {"preprocessing": 3},
            r"not known \(not from 3\): give preprocessing=camwall.Pre",
        ),
        (plainly, {"wall": 160.0}, "160.0"),
        (plainly, {"wall": "left"}, "'left' is no wall"),
        (plainly, {"wall": True}, "True"),
        (plainly, {"wall": None}, "None"),
    ],
)
def test_what_cannot_be_walled_costs_one_line(give: Callable, call: dict, match: str) -> None:
    """Each says what to do."""
    network = Unlike(give).eval()
    with pytest.raises(CamwallError, match=match) as caught:
        build_wall(network, **{"wall": 16, "preprocessing": PLAIN, **call})
    assert "\n" not in str(caught.value)


def test_a_network_without_maps_is_refused() -> None:
    """A dense network has no layer with a spatial extent."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 7), nn.ReLU(), nn.Linear(7, 5))
    with pytest.raises(CamwallError, match="no layer of the Sequential has a spatial extent") as e:
        build_wall(network.eval(), 16, preprocessing=PLAIN)
    assert "\n" not in str(e.value)


def test_a_vit_takes_one_size_alone() -> None:
    """Images of another are refused as such, and so is one side by itself."""
    torch.manual_seed(0)
    large = Preprocessing((0.5,) * 3, (0.25,) * 3, None, 48)
    with pytest.raises(CamwallError, match=r"cannot take an input of shape \[2, 3, 48, 48\] \(Inp"):
        build_wall(ViT().eval(), 16, preprocessing=large)
    with pytest.raises(CamwallError, match=r"cannot run on each side by itself \(Input height"):
        build_wall(ViT().eval(), 16, construction="apart", preprocessing=PLAIN)


def test_a_network_that_cannot_be_copied_is_refused() -> None:
    """A lock; a tensor that hangs in a graph."""
    hanging = Unlike(plainly)
    hanging.kept = hanging.head.dense.weight * 2
    for network in (Locked(), hanging):
        with pytest.raises(
            CamwallError, match=r"cannot be copied \(.*\): give a network"
        ) as caught:
            build_wall(network.eval(), 16, preprocessing=PLAIN)
        assert "\n" not in str(caught.value)


def test_scores_by_name() -> None:
    """Of a tensor, a mapping or an object with ``logits``, as transformers gives them."""
    scores = torch.zeros(2, 5)
    assert scores_of(scores) is scores
    assert scores_of({"logits": scores}) is scores
    assert scores_of(Mapping(logits=scores, hidden_states=None)) is scores
    for other in (scores[0], {"scores": scores}, [scores], None):
        with pytest.raises(CamwallError, match=r"not scores \[N, classes\]: wrap it"):
            scores_of(other)
    network = Unlike(lambda n, m: Mapping(logits=n.head(m))).eval()
    blind(build_wall(network, 16, preprocessing=PLAIN))


def test_the_rest_is_tried_on_maps_of_no_image() -> None:
    """A head that knows its image by heart is not taken for a function of the maps."""

    class Remembering(Skipping):
        def forward(self, images: Tensor) -> Tensor:
            maps = self.last(self.stem(images))
            return self.head(maps) * images.mean(dim=(1, 2, 3))[:, None].exp()

    network = Remembering().eval()
    rest = find_rest(network, find_layer(network, noise(), "last"), noise())
    assert rest.chain is None
    assert rest.carrier is None


def test_a_network_that_cannot_be_followed_is_refused_in_one_line() -> None:
    """Hooks do not go into a script, nor gradients through what inference mode made."""
    network = nn.Sequential(conv(), Mean()).eval()
    with torch.inference_mode():
        inferred = nn.Sequential(conv(), Mean()).eval()
    with warnings.catch_warnings(action="ignore"):
        scripted = torch.jit.script(network)
    for other in (scripted, inferred):
        with pytest.raises(CamwallError, match=r"the layers of the .* cannot be followed"):
            build_wall(other, 16, preprocessing=PLAIN)


RESTS = {
    "cut where it is large": lambda maps, images: nn.functional.relu6(maps),
    "dark where it is large": lambda maps, images: torch.where(maps > 0.6, 0.0, maps),
    "by bright images": lambda maps, images: maps * (images.amax((1, 2, 3), True) < 8),
    "a logarithm": lambda maps, images: maps.mean(dim=(2, 3), keepdim=True).log1p(),
}


class Functional(nn.Module):
    """A part after the stem that is no module."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.rest = RESTS[name]
        self.stem = nn.Sequential(nn.Conv2d(3, CHANNELS, 8, 4, 2), nn.ReLU())
        self.head = nn.Linear(CHANNELS, CLASSES)
        randomise(self, 0)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.rest(self.stem(images), images).mean(dim=(2, 3)))


@pytest.mark.parametrize("name", RESTS)
def test_what_a_function_makes_of_large_maps_is_not_left_out(name: str) -> None:
    """Maps and scores are those of whole passes where a part that is no module has an effect."""
    model = build_wall(Functional(name).eval(), 16, "stem", preprocessing=PLAIN)
    for method in ("AblationCAM", "ScoreCAM"):
        maps = [
            explain(model, 16 * noise(), method, 0, visible_only=each) for each in (True, False)
        ]
        torch.testing.assert_close(*maps, atol=1e-4, rtol=0)


def test_a_logarithm_after_the_layer_keeps_the_cheap_way() -> None:
    """It has no value on the maps far from any image's, which then say nothing."""
    model = build_wall(Functional("a logarithm").eval(), 16, "stem", preprocessing=PLAIN)
    assert str(model.rest) == "run with the whole network, on an image of 4×4"


def test_walls_of_every_shape_around_tokens() -> None:
    """The cells of tokens lie as the image does."""
    torch.manual_seed(0)
    wall = Wall.columns(32, 32, 0, 12)
    model = build_wall(ViT().eval(), wall, preprocessing=PLAIN)
    assert model.visible_cells.tolist() == [[False] * 3 + [True] * 5] * 8
    certify(model, probes=1, repaints=2)
