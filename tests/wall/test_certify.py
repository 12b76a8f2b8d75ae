"""The certificate: given to walls that hold, refused to every kind of hole."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from camwall import (
    BlindnessError,
    CamwallError,
    Wall,
    WalledModel,
    certify,
    simple_cnn,
)
from camwall.as_found import same_bits
from camwall.models import MaskedModel, WholeModel
from camwall.models.walled import Through
from camwall.wall import needed_rows
from tests.helpers.as_found import assert_same, snapshot, unsettle
from tests.helpers.networks import (
    NETWORKS,
    Parts,
    images,
    resnet_like,
    resnet_parts,
    vgg_like,
    walled,
)


@pytest.mark.parametrize("every_class", [False, True])
@pytest.mark.parametrize("network", NETWORKS)
def test_real_walls_are_certified(network: str, every_class: bool) -> None:
    """One line with wall, what is proved, classes, probes, repaints; same in double precision."""
    for seed in range(3):
        model = NETWORKS[network](seed)
        found = certify(model, images(model, 2), every_class=every_class)
        assert found.wall == model.wall
        assert found.classes == 6
        assert found.probes == 3 + 2 + 2  # noise, grey and a ramp, the images
        assert found.proved == model.ground
        assert found.proved.startswith("by geometry" if network == "vgg" else "by construction")
        assert found.every_class is every_class
        assert found.last_row_seen < model.wall.row
        assert found.visible_seen > 0.5
        line = str(found)
        assert "\n" not in line
        assert line.startswith(
            f"blind to rows {model.wall.row}–31 of 32×32 ({model.wall.share:.1%} of the pixels): "
            f"proved {found.proved}; probed on 7 images"
        )
        certify(model.double())


def test_the_wall_is_where_it_is_said_to_be() -> None:
    """The masked network sees to the last row before its wall: not one row is hidden in vain."""
    model = vgg_like(0)
    found = certify(model)
    assert found.last_row_seen == model.wall.row - 1


def test_one_weight_behind_the_wall_is_found_even_if_its_unit_is_silent() -> None:
    """The rows it reads are named, though no probe's score changes."""
    model = vgg_like(0)
    with torch.no_grad():
        model.cells()[3, 7, 4, 2] = 1e-20
        model.head[1].bias[3] = -1e6  # ReLU keeps the unit at 0
    rows = np.flatnonzero(needed_rows(model.features, 32, 5)[0])
    with pytest.raises(BlindnessError, match=f"rows 19–{rows[-1]} are said to be hidden"):
        certify(model)


def become(model: WalledModel, **members) -> WalledModel:
    """``model`` with some of its methods replaced: somebody else's code."""
    model.__class__ = type("Changed", (type(model),), members)
    return model


def unruled(model: WalledModel) -> WalledModel:
    """``model`` with gradients and repaints as the only witnesses."""
    return become(model, reachable=lambda self: None)


@pytest.mark.parametrize("every_class", [False, True])
@pytest.mark.parametrize("geometry", [False, True])
def test_a_weight_behind_the_wall_is_refused(every_class: bool, geometry: bool) -> None:
    """By geometry and by gradients alike, with the rows."""
    model = vgg_like(0)
    with torch.no_grad():
        model.cells()[:, :, 5, 2] = 1.0
    rows = np.flatnonzero(needed_rows(model.features, 32, 6)[0])
    with pytest.raises(BlindnessError, match=rf"rows (19|2\d)–{rows[-1]} are said to be hidden"):
        certify(model if geometry else unruled(model), every_class=every_class)


def test_the_baseline_is_refused() -> None:
    """An unmasked network sees everything behind the masked one's wall."""
    with pytest.raises(BlindnessError, match="rows 19–31 are said to be hidden"):
        certify(vgg_like(0, masked=False))
    with pytest.raises(BlindnessError, match=r"rows 19–31 .* the gradient of a score is not 0"):
        certify(unruled(vgg_like(0, masked=False)))


def test_a_head_that_reads_across_the_wall_is_refused() -> None:
    """One row of cells too many is a row of the hidden side, which sees all of that side."""
    model = resnet_like(0, "apart")
    model._cells += 1
    with pytest.raises(BlindnessError, match=r"rows 20–31 .* the gradient of a score is not 0"):
        certify(model)
    model = resnet_like(0)
    across = model.visible_cells.clone()
    across[5] = True
    model.read = lambda maps: torch.where(across, maps, 0.0)
    with pytest.raises(BlindnessError, match=r"rows 20–\d+ .* the gradient of a score is not 0"):
        certify(model)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("geometry", [False, True])
def test_a_wall_stated_too_high_is_refused(network: str, geometry: bool) -> None:
    """The rows between the stated and the real wall are named."""
    model = NETWORKS[network](0)
    real, first = model.wall, model.wall.row - 2
    model.wall = Wall.rows(32, 32, first)
    if type(model) is WholeModel:  # its wall is where it paints
        model = become(model, seen=lambda self, x: x.masked_fill(real.hidden, 0.0))
    assert (model.ground is None) == (network != "vgg")
    with pytest.raises(BlindnessError, match=f"rows {first}–{first + 1} are said to be hidden"):
        certify(model if geometry else unruled(model))


def test_a_wall_that_is_painted_is_where_it_is_stated() -> None:
    """With `whole`, another wall is another x̃: the rows between are hidden from then on."""
    model, as_it_was = resnet_like(0), resnet_like(0)
    model.wall = Wall.rows(32, 32, 18)
    assert certify(model).last_row_seen == 17
    batch = images(model, 2)
    other = batch.clone()
    other[:, :, 18:20] += 1
    assert torch.equal(model(batch), model(other))
    assert not torch.equal(as_it_was(batch), as_it_was(other))


@pytest.mark.parametrize("construction", ["whole", "apart"])
def test_a_trunk_that_is_not_split_is_refused(construction: str) -> None:
    """A head that reads visible rows only is no wall: receptive fields cross it."""
    model = resnet_like(0, construction)
    model.seen = lambda batch: batch
    assert model.ground is None
    with pytest.raises(BlindnessError, match=r"rows 20–\d+ .* the gradient of a score is not 0"):
        certify(model)


def test_maps_of_the_whole_image_on_both_sides_are_refused() -> None:
    """``paint="none"`` is no wall, and nothing is proved of it."""
    model = walled(resnet_parts(0), 20, paint="none")
    assert model.ground is None
    with pytest.raises(BlindnessError, match=r"rows 20–\d+ .* the gradient of a score is not 0"):
        certify(model)


def leaky(construction: str, hole: Callable[[Tensor], Tensor]) -> WalledModel:
    """A network whose scores have something of all maps added to them."""

    def passed(self, batch: Tensor, through: Through) -> Tensor:
        seen: list[Tensor] = []

        def keep(maps: Tensor, output: object) -> Tensor:
            seen.append(through(maps, output))
            return seen[0]

        return WholeModel.passed(self, batch, keep) + hole(seen[0])

    return become(resnet_like(0, construction), passed=passed)


@pytest.mark.parametrize("construction", ["whole", "apart"])
def test_a_hole_for_one_class_alone_is_found(construction: str) -> None:
    """Each class counts, not their sum: two classes with opposite holes do not cancel."""

    def hole(maps: Tensor) -> Tensor:
        of_one = maps[:, 3, 7].mean(dim=1)
        return torch.stack([of_one, -of_one] + 4 * [0 * of_one], dim=1)

    model = leaky(construction, hole)
    for every_class in (False, True):
        # Of the whole picture the last row of cells sees some visible pixels too, and these rows.
        with pytest.raises(BlindnessError, match=r"rows 20–31"):
            certify(model, every_class=every_class)


@pytest.mark.parametrize("construction", ["whole", "apart"])
def test_a_hole_without_gradient_is_found_by_repainting(construction: str) -> None:
    """A score that jumps with the hidden pixels has gradient 0 almost everywhere."""

    def jump(maps: Tensor) -> Tensor:
        return (maps[:, :, 6:].amax(dim=(1, 2, 3)) > 100)[:, None]

    with pytest.raises(BlindnessError, match="repainting them changes a score"):
        certify(leaky(construction, jump))


def test_geometry_that_says_too_little_is_refused() -> None:
    """A gradient where the stated receptive fields have no path."""

    pixels = (torch.arange(32) < 10)[:, None].expand(32, 32)
    model = become(vgg_like(0), reachable=lambda self: pixels)
    with pytest.raises(BlindnessError, match=r"rows 10–18 have a gradient but no path"):
        certify(model)


class Once(torch.autograd.Function):
    """x², differentiable once."""

    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return values.square()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        return 2 * values * gradient


@pytest.mark.parametrize("construction", ["whole", "apart"])
def test_a_layer_that_cannot_be_differentiated_twice_is_no_obstacle(construction: str) -> None:
    """One backward pass for each combination of the classes is enough."""

    class Square(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return Once.apply(values)

    base = resnet_parts(0)
    parts = Parts(base.features, nn.Sequential(Square(), *base.head))
    assert certify(walled(parts, 20, construction=construction)).last_row_seen == 19


@pytest.mark.parametrize("every_class", [False, True])
def test_the_model_is_as_found(every_class: bool) -> None:
    """Modes, hooks, gradients, buffers, images; also when the certificate is refused."""
    for make in NETWORKS.values():
        model = make(0)
        unsettle(model)
        batch = images(model, 1)
        before = snapshot(model, batch)
        certify(model, batch, every_class=every_class)
        assert_same(before, snapshot(model, batch))
    model = vgg_like(0, masked=False)
    unsettle(model)
    before = snapshot(model, batch)
    with pytest.raises(BlindnessError):
        certify(unruled(model), batch, every_class=every_class)
    assert_same(before, snapshot(model, batch))


def test_the_same_seed_asks_the_same_questions() -> None:
    """Certificates repeat."""
    assert certify(vgg_like(0), seed=3) == certify(vgg_like(0), seed=3)


def test_bad_input() -> None:
    """Counts below 1, scores that are not numbers, a model that looks at nothing."""
    for counts in ({"probes": 0}, {"repaints": 0}):
        with pytest.raises(CamwallError, match="must be a whole number of at least 1"):
            certify(vgg_like(0), **counts)
    model = vgg_like(0)
    with torch.no_grad():
        model.head[-1].weight[0, 0] = float("nan")
    with pytest.raises(CamwallError, match="scores are not finite"):
        certify(model)
    model = vgg_like(0)
    with torch.no_grad():
        model.head[1].weight.zero_()
    with pytest.raises(CamwallError, match="does not look at the image"):
        certify(model)
    with pytest.raises(CamwallError, match=r"images of shape \[N, 3, 32, 32\]"):
        certify(vgg_like(0), torch.zeros(1, 3, 40, 40))
    bare = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert certify(walled(Parts(nn.AvgPool2d(4), bare), 16)).visible_seen == 1


# --------------------------------------------------------------------------------------------
# What is proved, and what was probed


def test_nothing_is_proved_of_somebody_elses_code() -> None:
    """A subclass, an instance attribute in place of a method, a module in place of the identity."""

    def another_head(model: WalledModel) -> None:
        class Other(nn.Sequential):
            def forward(self, maps: Tensor) -> Tensor:
                return super().forward(maps)

        model.head = Other(*model.head)

    def another_target(model: WalledModel) -> None:
        model.target_layer = nn.Dropout(0.5)

    def nothing(module: nn.Module, *given: object) -> None:
        """A hook could do anything."""

    hooked = [
        lambda m: m.register_forward_hook(nothing),
        lambda m: m.target_layer.register_forward_pre_hook(nothing),
    ]

    changes = {
        name: [
            lambda m: become(m, features=lambda self, x: type(self).__mro__[1].features(self, x)),
            lambda m: setattr(m, "features", m.features),
            lambda m: setattr(m, "head", m.head),
            lambda m: setattr(m, "read", m.read),
            lambda m: setattr(m, "forward", m.forward),
            another_target,
            *hooked,
        ]
        for name in NETWORKS
        if name != "vgg"
    }
    changes["vgg"] = [
        lambda m: become(m, forward=lambda self, x: MaskedModel.forward(self, x)),
        lambda m: setattr(m, "forward", m.forward),
        lambda m: setattr(m, "reachable", m.reachable),
        another_head,
        another_target,
        *hooked,
        lambda m: m.features.register_forward_hook(nothing),
        lambda m: m.features[0].register_forward_hook(nothing),
        lambda m: setattr(m.features[0], "forward", m.features[0].forward),
        lambda m: m.head.register_forward_pre_hook(nothing),
        lambda m: m.dense.register_forward_hook(nothing),
        lambda m: setattr(m.features[0], "_conv_forward", m.features[0]._conv_forward),
        lambda m: setattr(m.features[0], "_call_impl", m.features[0]._call_impl),
        lambda m: setattr(m.features[0], "_compiled_call_impl", m.features[0].forward),
    ]
    for name, several in changes.items():
        for change in several:
            model = NETWORKS[name](0)
            assert model.ground is not None
            change(model)
            assert model.ground is None
            found = certify(model, probes=1, repaints=1)  # the wall itself is as it was
            assert found.proved is None
            assert "): nothing is proved; probed on 3 images" in str(found)


@pytest.mark.parametrize("network", ["vgg", "resnet", "resnet apart"])
def test_nothing_is_proved_under_a_hook_of_all_modules(network: str) -> None:
    """It runs at each module, and here at none that a probe shows."""
    model = NETWORKS[network](0)

    def far(module: nn.Module, given: object, found: Tensor) -> Tensor:
        return found + (found.amax() > 1e8).to(found)

    handle = nn.modules.module.register_module_forward_hook(far)
    try:
        assert certify(model, probes=1, repaints=2).proved is None
    finally:
        handle.remove()
    assert certify(model, probes=1, repaints=2).proved is not None


@pytest.mark.parametrize("construction", ["whole", "apart"])
def test_a_network_that_works_in_place_leaves_images_and_proof_alone(construction: str) -> None:
    """Also one that does so for some inputs, or with gradients alone."""

    class InPlace(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sub_(x.mean()).clamp_(-3, 3) if torch.is_grad_enabled() else x.clamp_(-9, 9)

    parts = resnet_parts(0)
    parts[0].insert(0, InPlace())
    model = walled(parts, 20, construction=construction)
    assert certify(model).proved is not None
    batch = 100 * images(model, 2)
    before, other = batch.clone(), batch.clone()
    other[:, :, 20:] = 5.0
    assert torch.equal(model(batch), model(other))
    assert torch.equal(batch, before)


def test_a_gradient_that_is_no_number_is_no_hole() -> None:
    """What is proved to be blind is not said to see, where a derivative is 0 times infinity."""

    class Length(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.square().sum(dim=1, keepdim=True).sqrt().expand_as(x)

    parts = resnet_parts(0)
    parts[0].insert(0, Length())
    with pytest.raises(CamwallError, match="the gradient of a score is NaN on a probe") as caught:
        certify(walled(parts, 20))
    assert not isinstance(caught.value, BlindnessError)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_a_network_that_gradients_do_not_pass_is_told_so() -> None:
    """Torch's older checkpoints take no part in `torch.autograd.grad`."""

    class Old(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(torch.tanh, x, use_reentrant=True)

    parts = resnet_parts(0)
    parts[0].insert(0, Old())
    with pytest.raises(CamwallError, match=r"the scores have no gradients \(When use_reentrant"):
        certify(walled(parts, 20))


def test_batches_of_any_size_are_blind_by_every_convolution_of_a_cpu(monkeypatch) -> None:
    """NNPACK's, which round with pixels outside of their windows, stay out of what is measured."""
    model = NETWORKS["vgg"](0)
    batch = images(model, 16)
    other = batch.clone()
    other[:, :, model.wall.row :] = 1e4
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    with same_bits(model), torch.no_grad():
        assert torch.equal(model(batch), model(other))


def test_the_simple_network_is_proved_by_geometry_as_it_was_made() -> None:
    """And a subclass of it by nothing."""
    model = simple_cnn(filters=4)
    assert certify(model).proved.startswith("by geometry")
    assert become(model).ground is None


@pytest.mark.parametrize(
    "wall",
    [
        Wall.columns(32, 32, 20),
        Wall.columns(32, 32, 0, 12),
        Wall.rows(32, 32, 0, 12),
        Wall.quadrant(32, 32, left=True),
        Wall.border(32, 32, 6),
        Wall.boxes(32, 32, [(3, 5, 9, 14), (20, 1, 32, 7)]),
        Wall.patches(32, 32, 8, seed=3),
    ],
    ids=str,
)
def test_walls_of_every_shape_are_certified_and_their_holes_named(wall: Wall) -> None:
    """A wall that is no row has no last row; without paint, its hidden pixels are seen."""
    found = certify(walled(resnet_parts(0), wall))
    assert found.wall == wall
    assert found.last_row_seen is None
    assert str(found).startswith(f"blind to {wall} ({wall.share:.1%} of the pixels): proved by")
    assert ", row" not in str(found)
    where = "columns" if wall.cut is not None and wall.cut[0] == 1 else "rows"
    with pytest.raises(BlindnessError, match=f"the wall has a hole: .*{where} .*are said to be"):
        certify(walled(resnet_parts(0), wall, paint="none"))


def test_a_hole_of_one_pixel_is_named() -> None:
    """Of a wall that no rows or columns tell, pixels are counted."""
    wall = Wall.boxes(32, 32, [(4, 4, 12, 12), (16, 16, 28, 28)])
    model = walled(resnet_parts(0), wall)

    def forward(self, batch: Tensor) -> Tensor:
        return WholeModel.forward(self, batch) + batch[:, 0, 20, 25, None]

    hole = "1 pixels in rows 20, columns 25 are said to be hidden"
    with pytest.raises(BlindnessError, match=hole):
        certify(become(model, forward=forward))


def on_blue(leak: float = 0.0) -> WalledModel:
    """A network that is dead but on images whose third channel is far above 1, and so its hole."""
    model = resnet_like(0)

    def forward(self, batch: Tensor) -> Tensor:
        awake = (batch[:, 2, :20].amin(dim=(1, 2)) > 50)[:, None]
        scores = WholeModel.forward(self, batch)
        hole = leak * batch[:, 1, 30].mean(dim=1, keepdim=True)
        return torch.where(awake, scores + hole, 0.0)

    return become(model, forward=forward)


def test_a_network_that_is_dead_on_noise_is_certified_with_real_images() -> None:
    """Without them the line says to give some; with them a hole is found, or none."""
    awake = images(resnet_like(0), 2)
    awake[:, 2] += 100
    with pytest.raises(
        CamwallError, match=r"not on noise, grey and a ramp: give certify real"
    ) as e:
        certify(on_blue())
    assert not isinstance(e.value, BlindnessError)
    assert "\n" not in str(e.value)
    with pytest.raises(CamwallError, match=r"no pixel has a gradient.* not on any probe"):
        certify(on_blue(), images(resnet_like(0), 2))
    found = certify(on_blue(), awake)
    assert found.visible_seen > 0.5
    assert found.probes == 7
    with pytest.raises(BlindnessError, match="rows 30 are said to be hidden"):
        certify(on_blue(leak=1.0), awake)


def test_a_network_whose_scores_change_from_call_to_call_is_told_so() -> None:
    """Dropout that stays on, or a state that counts the calls."""

    def random(self, batch: Tensor) -> Tensor:
        return nn.functional.dropout(WholeModel.forward(self, batch), 0.5, training=True)

    def counting(self, batch: Tensor) -> Tensor:
        self.calls = getattr(self, "calls", 0) + 1
        return WholeModel.forward(self, batch) + self.calls

    for forward in (random, counting):
        with pytest.raises(CamwallError, match="scores change from call to call") as caught:
            certify(become(resnet_like(0), forward=forward))
        assert not isinstance(caught.value, BlindnessError)
        assert "\n" not in str(caught.value)


def hidden_jump(batch: Tensor) -> Tensor:
    """A value of each image that its hidden pixels decide, with gradient 0 wherever it has one."""
    return (batch[:, 0, 30, 3] > 0.1).to(batch)[:, None]


HOLES = {
    "in batches of 1": lambda x: len(x) == 1,
    "in batches of 2": lambda x: len(x) == 2,
    "in batches of 5": lambda x: len(x) == 5,
    "without gradients": lambda x: not torch.is_grad_enabled(),
    "with gradients": lambda x: torch.is_grad_enabled(),
    "in batches of 1 with gradients": lambda x: len(x) == 1 and torch.is_grad_enabled(),
    "in batches of 2 with gradients": lambda x: len(x) == 2 and torch.is_grad_enabled(),
    "in batches of 1 without gradients": lambda x: len(x) == 1 and not torch.is_grad_enabled(),
    "in batches of 2 without gradients": lambda x: len(x) == 2 and not torch.is_grad_enabled(),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("given_images", [0, 3])
@pytest.mark.parametrize("where", HOLES)
def test_holes_that_show_only_there_are_found(where: str, given_images: int, seed: int) -> None:
    """In one batch size or one gradient mode, and only as a jump, which no gradient shows."""

    def forward(self, batch: Tensor) -> Tensor:
        scores = WholeModel.forward(self, batch)
        return scores + hidden_jump(batch) if HOLES[where](batch) else scores

    model = become(resnet_like(0), forward=forward)
    batch = images(model, given_images, seed) if given_images else None
    with pytest.raises(BlindnessError, match=r"rows 30 .*repainting them changes a score"):
        certify(model, batch, seed=seed)


CONTENTS = {
    "mid-grey": lambda hidden: (hidden == 0).flatten(1).all(dim=1),
    "any one colour": lambda hidden: (hidden == hidden[..., :1, :1]).flatten(1).all(dim=1),
    "a ramp along the columns": lambda h: (h.diff(dim=3) > 0).flatten(1).all(dim=1),
    "a thousand times the extremes": lambda hidden: (hidden.abs() > 1000).flatten(1).all(dim=1),
    "noise": lambda hidden: (hidden.flatten(1).std(dim=1) > 1.2) & (hidden.amax((1, 2, 3)) < 50),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_holes_that_show_only_for_one_content_are_found(content: str) -> None:
    """One class moves where the hidden pixels are of one kind, and for no other content."""

    def forward(self, batch: Tensor) -> Tensor:
        scores = WholeModel.forward(self, batch)
        return scores + CONTENTS[content](batch[:, :, 20:]).to(scores)[:, None]

    model = become(resnet_like(0), forward=forward)
    with pytest.raises(BlindnessError, match=r"are said to be hidden .*repainting them changes"):
        certify(model)


def test_a_hole_that_only_the_callers_images_show() -> None:
    """Images that are given are probes, and paint each other's hidden pixels."""
    batch = images(resnet_like(0), 2)

    def forward(self, x: Tensor) -> Tensor:
        known = (x[:, None] == batch)[:, :, :, :20].flatten(2).all(dim=2).any(dim=1)[:, None]
        return WholeModel.forward(self, x) + known * x[:, 0, 25].mean(dim=1, keepdim=True)

    certify(become(resnet_like(0), forward=forward))
    with pytest.raises(BlindnessError, match="rows 25 are said to be hidden"):
        certify(become(resnet_like(0), forward=forward), batch)


def test_an_unwalled_network_has_no_wall_to_certify() -> None:
    """One line says what makes one."""
    with pytest.raises(CamwallError, match=r"a Linear has no wall to certify: .*build_wall"):
        certify(nn.Linear(2, 2))
