"""The certificate: given to walls that hold, refused to every kind of hole."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from camwall import BlindnessError, CamwallError, WalledModel, certify
from camwall.models.sides import VisibleHead
from camwall.models.walled import MaskedModel
from camwall.wall import reachable_rows
from tests.as_found import assert_same, snapshot, unsettle
from tests.networks import NETWORKS, images, resnet_like, vgg_like


@pytest.mark.parametrize("every_class", [False, True])
@pytest.mark.parametrize("network", NETWORKS)
def test_real_walls_are_certified(network: str, every_class: bool) -> None:
    """One line with wall, classes, probes, repaints and geometry; same in double precision."""
    for seed in range(3):
        model = NETWORKS[network](seed)
        found = certify(model, images(model, 2), every_class=every_class)
        assert found.wall == model.wall
        assert found.classes == 6
        assert found.probes == 5
        assert found.geometry
        assert found.every_class is every_class
        assert found.last_row_seen < model.wall.row
        line = str(found)
        assert "\n" not in line
        assert line.startswith(
            f"blind to rows {model.wall.row}–31 ({model.wall.hidden_rows} of 32)"
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
    rows = np.flatnonzero(reachable_rows(model.features, 32, 5))
    with pytest.raises(BlindnessError, match=f"rows 19–{rows[-1]} are said to be hidden"):
        certify(model)


class Unruled(MaskedModel):
    """A masked model that knows nothing about its geometry."""

    def reachable_rows(self) -> None:
        return None


def unruled(model: WalledModel) -> WalledModel:
    """``model`` with gradients and repaints as the only witnesses."""
    kinds = {True: Unruled, False: type("Unruled", (type(model),), {"reachable_rows": _none})}
    model.__class__ = kinds[isinstance(model, MaskedModel)]
    return model


def _none(_: WalledModel) -> None:
    return None


@pytest.mark.parametrize("every_class", [False, True])
@pytest.mark.parametrize("geometry", [False, True])
def test_a_weight_behind_the_wall_is_refused(every_class: bool, geometry: bool) -> None:
    """By geometry and by gradients alike, with the rows."""
    model = vgg_like(0)
    with torch.no_grad():
        model.cells()[:, :, 5, 2] = 1.0
    rows = np.flatnonzero(reachable_rows(model.features, 32, 6))
    with pytest.raises(BlindnessError, match=rf"rows (19|2\d)–{rows[-1]} are said to be hidden"):
        certify(model if geometry else unruled(model), every_class=every_class)


def test_the_baseline_is_refused() -> None:
    """An unmasked network sees everything behind the masked one's wall."""
    with pytest.raises(BlindnessError, match="rows 19–31 are said to be hidden"):
        certify(vgg_like(0, masked=False))
    with pytest.raises(BlindnessError, match=r"rows 19–31 .* the gradient of a score is not 0"):
        certify(unruled(vgg_like(0, masked=False)))


def test_a_head_that_reads_across_the_wall_is_refused_by_geometry() -> None:
    """One row too many of a split network's maps is a row of the hidden side, which sees it all."""
    model = NETWORKS["resnet"](0)
    model.head.rows += 1
    assert model.reachable_rows().all()
    with pytest.raises(BlindnessError, match="by the layers' receptive fields"):
        certify(model)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("geometry", [False, True])
def test_a_wall_stated_too_high_is_refused(network: str, geometry: bool) -> None:
    """The rows between the stated and the real wall are named."""
    model = NETWORKS[network](0)
    model.wall = replace(model.wall, hidden_rows=model.wall.hidden_rows + 2)
    first = model.wall.row
    with pytest.raises(BlindnessError, match=f"rows {first}–{first + 1} are said to be hidden"):
        certify(model if geometry else unruled(model))


def test_a_trunk_that_is_not_split_is_refused() -> None:
    """A head that reads visible rows only is no wall: receptive fields cross it."""
    model = resnet_like(0)
    model.features = model.features.trunk
    with pytest.raises(BlindnessError, match=r"rows 20–\d+ .* the gradient of a score is not 0"):
        certify(unruled(model))


def test_a_hole_for_one_class_alone_is_found() -> None:
    """Each class counts, not their sum: two classes with opposite holes do not cancel."""
    model = unruled(resnet_like(0))

    class Leaky(VisibleHead):
        def forward(self, maps: Tensor) -> Tensor:
            scores = super().forward(maps)
            hole = maps[:, 3, 7].mean(dim=1)
            return scores + torch.stack([hole, -hole] + 4 * [0 * hole], dim=1)

    model.head = Leaky(model.head.head, model.head.rows)
    for every_class in (False, True):
        with pytest.raises(BlindnessError, match="rows 20–31"):
            certify(model, every_class=every_class)


def test_a_hole_without_gradient_is_found_by_repainting() -> None:
    """A score that jumps with the hidden pixels has gradient 0 almost everywhere."""
    model = unruled(resnet_like(0))

    class Jump(VisibleHead):
        def forward(self, maps: Tensor) -> Tensor:
            return super().forward(maps) + (maps[:, :, 6:].amax(dim=(1, 2, 3)) > 100)[:, None]

    model.head = Jump(model.head.head, model.head.rows)
    with pytest.raises(BlindnessError, match="repainting them changes a score"):
        certify(model)


def test_geometry_that_says_too_little_is_refused() -> None:
    """A gradient where the stated receptive fields have no path."""

    class Wrong(MaskedModel):
        def reachable_rows(self) -> np.ndarray:
            return np.arange(32) < 10

    model = vgg_like(0)
    model.__class__ = Wrong
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


def test_a_layer_that_cannot_be_differentiated_twice_falls_back_to_each_class() -> None:
    """The certificate says that every class was asked by itself."""

    class Square(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return Once.apply(values)

    model = resnet_like(0)
    model.head.head = nn.Sequential(Square(), *model.head.head)
    assert certify(model).every_class


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
        with pytest.raises(CamwallError, match="needs probes ≥ 1 and repaints ≥ 1"):
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
