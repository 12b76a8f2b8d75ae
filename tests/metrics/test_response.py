"""The response: exactly 0 for methods that do not look behind the wall, the naive way for all."""

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camwall import (
    METHODS,
    BlindnessError,
    CamwallError,
    Wall,
    explain,
    response,
)
from camwall.methods import STUDIED, Evidence, Method, opticam
from camwall.metrics import REPAINTS, change, repaint
from camwall.models import WalledModel
from tests.helpers.as_found import assert_same, snapshot, unsettle
from tests.helpers.networks import (
    CLASSES,
    NETWORKS,
    PLAIN,
    SIZE,
    Parts,
    efficientnet_parts,
    images,
    randomise,
    resnet_parts,
    vgg_like,
    walled,
)

BLIND = ["HiResCAM", "LayerCAM", "GradCAMElementWise", "EigenGradCAM"]
OURS = [name for name, method in METHODS.items() if method.raw is not None]
#: Of the seeds one for which the dense layers of the first network fall silent behind no wall.
SEED = 1
SEEING = [name for name in OURS if name not in BLIND]

WALLS = {
    "below": Wall.rows(SIZE, SIZE, 16),
    "above": Wall.rows(SIZE, SIZE, 0, 16),
    "left": Wall.columns(SIZE, SIZE, 0, 8),
    "right": Wall.columns(SIZE, SIZE, 24),
    "quadrant": Wall.quadrant(SIZE, SIZE, top=True),
    "border": Wall.border(SIZE, SIZE, 6),
    "boxes": Wall.boxes(SIZE, SIZE, [(3, 5, 14, 11), (20, 20, 31, 29)]),
}


def vgg_parts(seed: int) -> Parts:
    """The baseline, whose dense layers read the whole map."""
    model = vgg_like(seed, masked=False)
    return Parts(model.features, model.head)


PARTS = {"vgg": vgg_parts, "resnet": resnet_parts, "efficientnet": efficientnet_parts}


def behind(network: str, shape: str, construction: str, seed: int = SEED) -> WalledModel:
    """A network of `tests.networks` behind one of the walls."""
    return walled(PARTS[network](seed), WALLS[shape], construction=construction)


SIDES = ("below", "above", "left", "right")
CASES = [(network, shape, "whole") for network in PARTS for shape in WALLS]
# A head of dense layers on the flattened map takes the whole map only.
CASES += [(n, shape, "apart") for n in ("resnet", "efficientnet") for shape in SIDES]


def signed(seed: int = 0) -> WalledModel:
    """Maps of either sign, after GELU, 40 of 8×8."""
    features = nn.Sequential(
        nn.Conv2d(3, 12, 4, stride=4), nn.SiLU(), nn.Conv2d(12, 40, 3, padding=1), nn.GELU()
    )
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, CLASSES))
    randomise(nn.ModuleList([features, head]), seed)
    return walled(Parts(features, head), 16)


def others_of(batch: Tensor) -> Tensor:
    return batch.roll(-1, dims=0) if len(batch) > 1 else batch.flip((2, 3))


# ---------------------------------------------------------------------------------------------
# Exactly 0, or not


@pytest.mark.parametrize(("network", "shape", "construction"), CASES)
def test_who_looks_behind_the_wall(network: str, shape: str, construction: str) -> None:
    """Exactly 0 for weights at each position and EigenGradCAM, positive for every other method."""
    model = behind(network, shape, construction)
    batch = images(model, 3)
    for name in BLIND:
        assert response(model, batch, name).tolist() == [0.0] * 3, name
        assert explain(model, batch, name).any(), name
    for name in SEEING:
        method: str | Method = opticam(steps=2) if name == "Opti-CAM" else name
        found = response(model, batch, method)
        assert found.dtype == torch.float64
        assert (found > 0).any(), name


@pytest.mark.parametrize("network", NETWORKS)
def test_the_register_says_who_looks(network: str) -> None:
    """`sees_through` is whether the response is positive, for every method and both engines."""
    model = NETWORKS[network](0)
    batch = images(model, 3)
    for name, method in ((name, METHODS[name]) for name in STUDIED):
        for engine in ("camwall", "grad-cam"):
            if engine not in method.engines:
                continue
            found = response(model, batch, name, engine=engine)  # type: ignore[arg-type]
            assert method.sees_through == bool((found > 0).any()), (name, engine)


def test_maps_of_either_sign() -> None:
    """After GELU, too, where 0 times a negative activation is −0."""
    model = signed()
    batch = images(model, 3)
    for name in OURS:
        found = response(model, batch, opticam(steps=2) if name == "Opti-CAM" else name)
        assert METHODS[name].sees_through == bool((found > 0).any()), name


@pytest.mark.parametrize("name", BLIND)
def test_the_zero_outlives_normalising_and_resizing(name: str) -> None:
    """Shown maps of images that differ in hidden pixels only are the same bit for bit."""
    for network in NETWORKS:
        model = NETWORKS[network](0)
        batch = images(model, 3)
        for paint in REPAINTS:
            moved = repaint(paint, model, batch, others_of(batch))
            for engine in ("camwall", "grad-cam"):
                before, after = (explain(model, x, name, engine=engine) for x in (batch, moved))  # type: ignore[arg-type]
                assert torch.equal(before, after)


# ---------------------------------------------------------------------------------------------
# The naive way


@pytest.mark.parametrize("network", [*NETWORKS, "signed"])
@pytest.mark.parametrize("method", OURS)
def test_equal_to_explaining_each_repaint(network: str, method: str) -> None:
    """Nothing taken over from one pass to the next changes the number, to 10⁻¹²."""
    model = (signed if network == "signed" else NETWORKS[network])(0).double()
    batch = images(model, 3).double()
    target = [4, 0, 2]
    asked: str | Method = opticam(steps=3) if method == "Opti-CAM" else method
    with torch.no_grad():
        before = explain(model, batch, asked, target, normalize=False).flatten(1)
        expected = torch.zeros(3).double()
        for paint in REPAINTS:
            moved = repaint(paint, model, batch, others_of(batch))
            assert torch.equal(model(moved), model(batch))
            after = explain(model, moved, asked, target, normalize=False).flatten(1)
            norms = (after - before).norm(dim=1), before.norm(dim=1)
            each = torch.where(norms[0] > 0, norms[0] / norms[1], 0.0)
            expected = torch.maximum(expected, each)
    found = response(model, batch, asked, target)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    assert torch.equal(found == 0, expected == 0)


@pytest.mark.parametrize("network", NETWORKS)
def test_what_a_repainted_pass_takes_over_is_its_own(network: str) -> None:
    """Scores, target, gradients and ablated scores of the repainted images, bit for bit."""
    model = NETWORKS[network](0)
    batch = images(model, 3)
    shared = Evidence(model, batch)
    METHODS["AblationCAM"].raw(shared)  # type: ignore[misc]
    for paint in REPAINTS:
        moved = repaint(paint, model, batch, others_of(batch))
        (taken,), own = shared.repainted(moved), Evidence(model, moved)
        assert torch.equal(taken.maps, own.maps)
        assert not torch.equal(taken.maps, shared.maps)
        assert torch.equal(taken.scores, own.scores)
        assert torch.equal(taken.target, own.target)
        assert torch.equal(taken.gradients, own.gradients)
        assert taken.images is moved
        for name in ("AblationCAM", "EigenCAM", "ScoreCAM"):
            one, other = (METHODS[name].raw(each) for each in (taken, own))  # type: ignore[misc]
            assert torch.equal(one, other), name
        assert taken.rest is shared.rest, "one copy of the head's weights serves all repaints"
    with pytest.raises(CamwallError, match="a differentiable pass has no repaints"):
        Evidence(model, batch, differentiable=True).repainted(batch)


def test_the_largest_over_the_repaints() -> None:
    """The response to several repaints is the largest of those to each."""
    model = NETWORKS["resnet"](0)
    batch = images(model, 3)
    each = [response(model, batch, "GradCAM", repaints=[name]) for name in REPAINTS]
    assert torch.equal(response(model, batch, "GradCAM"), torch.stack(each).amax(dim=0))
    assert len({float(values[0]) for values in each}) == len(REPAINTS)


def test_change_by_hand() -> None:
    """‖before − after‖ / ‖before‖; 0 for equal maps, empty ones too; infinite for one lit up."""
    before = torch.tensor([[[3.0, 4.0]], [[1.0, 0.0]], [[0.0, 0.0]], [[0.0, 0.0]]])
    after = torch.tensor([[[3.0, 1.0]], [[1.0, 0.0]], [[0.0, 0.0]], [[0.0, 1e-30]]])
    assert change(before, after).tolist() == [3 / 5, 0.0, 0.0, float("inf")]
    tiny = change(1e-30 * before[:1], 1e-30 * after[:1])
    assert tiny.item() == pytest.approx(3 / 5)


# ---------------------------------------------------------------------------------------------
# Repaints


@pytest.mark.parametrize("shape", WALLS)
@pytest.mark.parametrize("name", REPAINTS)
def test_a_repaint_changes_every_image_behind_the_wall_only(shape: str, name: str) -> None:
    """Visible pixels stay bit for bit; what is painted is what the name says."""
    model = behind("resnet", shape, "whole")
    hidden = WALLS[shape].hidden
    batch = images(model, 3)
    found = repaint(name, model, batch, others_of(batch))
    assert torch.equal(found[:, :, ~hidden], batch[:, :, ~hidden])
    assert (found != batch)[:, :, hidden].flatten(1).any(dim=1).all()
    if name == "grey":
        torch.testing.assert_close(
            model.preprocessing.denormalize(found)[:, :, hidden],
            torch.full_like(found[:, :, hidden], 0.5),
        )
    if name == "other":
        assert torch.equal(found[:, :, hidden], batch.roll(-1, 0)[:, :, hidden])
    if name == "noise":
        assert torch.equal(found[0][:, hidden], found[1][:, hidden])
    if name == "mirror" and shape == "below":
        assert torch.equal(found[:, :, 16:], batch[:, :, :16].flip(2))
    if name == "mirror" and shape in ("left", "right"):
        assert torch.equal(found[:, :, hidden], batch.flip(3)[:, :, hidden])


# ---------------------------------------------------------------------------------------------
# Functions


def flat(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
    return torch.ones(len(images), *model.wall.shape)


def torchs(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
    return torch.rand(len(images), *model.wall.shape)


def numpys(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
    noise = np.random.rand(len(images), *model.wall.shape)  # noqa: NPY002 - what people write
    return torch.from_numpy(noise)


def pythons(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
    return random.random() * flat(model, images, target)


def spread(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
    """What the wall leaves visible, carried across by interpolation."""
    cells = model.visible_cells[None, None].float()
    return nn.functional.interpolate(cells, model.wall.shape, mode="bilinear")[0].expand(
        len(images), -1, -1
    )


def visible_brightness(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
    return images.abs().mean(dim=1).masked_fill(model.wall.hidden, 0.0)


def score(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
    return model(images).gather(1, target[:, None])[:, :, None] * flat(model, images, target)


@pytest.mark.parametrize("function", [flat, torchs, numpys, pythons, spread])
def test_what_does_not_look_has_response_zero(function: Callable[..., Tensor]) -> None:
    """A flat map, noise whose source has its seed held, interpolation: wherever they point."""
    model = NETWORKS["resnet"](0)
    assert response(model, images(model, 3), function).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("function", [visible_brightness, score])
def test_what_looks_at_the_visible_alone_has_response_zero(function: Callable[..., Tensor]) -> None:
    """Its maps differ from image to image, and not under a repaint."""
    model = NETWORKS["resnet"](0)
    batch = images(model, 3)
    maps = function(model, batch, torch.tensor([0, 1, 2]))
    assert not torch.equal(maps[0], maps[1])
    assert response(model, batch, function).tolist() == [0.0, 0.0, 0.0]


def test_a_function_by_hand() -> None:
    """The brightness of an image repainted in grey: the hidden part of it, over all of it."""
    model = NETWORKS["resnet"](0)
    batch = images(model, 2)

    def brightness(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
        return images[:, 0]

    zero = model.preprocessing.normalize(torch.full((3, 1, 1), 0.5))[0]
    gone = (batch[:, 0] - zero)[:, model.wall.hidden].double().norm(dim=1)
    expected = gone / batch[:, 0].double().flatten(1).norm(dim=1)
    found = response(model, batch, brightness, repaints=["grey"])
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-6)


def test_a_function_that_draws_from_a_source_of_its_own_is_refused() -> None:
    """Its maps move by themselves: no change of them says that it looks."""
    model = NETWORKS["resnet"](0)
    source = np.random.default_rng()

    def restless(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
        return torch.from_numpy(source.random((len(images), *model.wall.shape)))

    with pytest.raises(CamwallError, match="restless gives another map from call to call"):
        response(model, images(model, 2), restless)


def test_a_map_that_lights_up_has_an_infinite_response() -> None:
    """Empty on the image as it is, not empty once it is repainted; one that is put out has 1."""
    model = NETWORKS["resnet"](0)
    batch = images(model, 2)
    own = batch[0, 0][model.wall.hidden]

    def alarmed(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
        same = (images[:, 0, model.wall.hidden] == own).all(dim=1)
        return (~same)[:, None, None] * flat(model, images, target)

    assert response(model, batch, alarmed).tolist() == [float("inf"), 1.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_map_that_is_no_number_under_a_repaint_is_refused(bad: float) -> None:
    """It would compare as unmoved, or as moved without end."""
    model = NETWORKS["resnet"](0)
    batch = images(model, 2)

    def breaks(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
        maps = flat(model, images, target)
        maps[1, 0, 0] = 1.0 if torch.equal(images, batch) else bad
        return maps

    with pytest.raises(CamwallError, match="breaks gives a map that holds NaN or infinite"):
        response(model, batch, breaks)


def test_a_function_is_asked_for_the_same_class() -> None:
    """The top class of the images as they are, or the one given, and images of its own."""
    model = NETWORKS["resnet"](0)
    batch = images(model, 3)
    asked = []

    def spoils(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
        asked.append(target.tolist())
        images.zero_()
        target.zero_()
        return flat(model, images, target)

    before = batch.clone()
    response(model, batch, spoils)
    response(model, batch, spoils, 5)
    top = model(batch).argmax(dim=1).tolist()
    calls = 2 + len(REPAINTS)
    assert asked == [top] * calls + [[5, 5, 5]] * calls
    assert torch.equal(batch, before)


# ---------------------------------------------------------------------------------------------
# What it takes, refuses and leaves


def test_a_model_that_sees_behind_its_wall_is_refused() -> None:
    """The baseline; a network whose visible cells read hidden pixels: there is no zero."""
    baseline = vgg_like(0, masked=False)
    unpainted = walled(resnet_parts(0), 16, paint="none")
    for model in (baseline, unpainted):
        for method in ("HiResCAM", flat):
            with pytest.raises(BlindnessError, match="moves the scores"):
                response(model, images(model, 2), method)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_single_image(network: str) -> None:
    """`other` is then the image itself, upside down."""
    model = NETWORKS[network](0)
    batch = images(model, 1)
    assert response(model, batch, "HiResCAM").tolist() == [0.0]
    assert response(model, batch, "EigenCAM").item() > 0
    found = response(model, batch, "EigenCAM", repaints=["other"])
    with torch.no_grad():
        turned = torch.where(model.wall.hidden, batch.flip((2, 3)), batch)
        maps = [explain(model, x, "EigenCAM", normalize=False) for x in (batch, turned)]
    assert torch.equal(found, change(*maps))


@pytest.mark.parametrize("construction", ["whole", "apart"])
@pytest.mark.parametrize("size", [(24, 40), (40, 16)])
def test_images_that_are_not_square(construction: str, size: tuple[int, int]) -> None:
    """Tall and wide ones, hidden by rows and by columns."""
    gen = torch.Generator().manual_seed(0)
    batch = torch.randn(2, 3, *size, generator=gen)
    for hidden in (Wall.rows(*size, 16), Wall.columns(*size, 0, 8)):
        made = resnet_parts(0)
        made.preprocessing = replace(PLAIN, crop=size)
        model = walled(made, hidden, construction=construction)
        for name in BLIND:
            assert response(model, batch, name).tolist() == [0.0, 0.0]
        for name in ("EigenCAM", "AblationCAM", "ScoreCAM"):
            assert (response(model, batch, name) > 0).any()


def test_everything_is_as_found() -> None:
    """Hooks, modes, gradients, images, and the sequence of every source of random numbers."""
    for make in NETWORKS.values():
        for method in ("GradCAM", "ScoreCAM", "ShapleyCAM", torchs, numpys, pythons):
            model = make(0)
            unsettle(model)
            batch = images(model, 2)
            before = snapshot(model, batch)
            states = random.getstate(), str(np.random.get_state())  # noqa: NPY002
            response(
                model, batch, method, engine="grad-cam" if method == "ShapleyCAM" else "camwall"
            )
            assert_same(before, snapshot(model, batch))
            assert states == (random.getstate(), str(np.random.get_state()))  # noqa: NPY002


def test_everything_is_as_found_after_a_failure() -> None:
    """An error of a function's own reaches the caller, and leaves nothing behind."""
    model = NETWORKS["resnet"](0)
    unsettle(model)
    batch = images(model, 2)
    before = snapshot(model, batch)

    def fails(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
        torch.rand(3)
        model(images.requires_grad_()).sum().backward()
        raise RuntimeError("no map today")

    with pytest.raises(RuntimeError, match="no map today"):
        response(model, batch, fails)
    assert_same(before, snapshot(model, batch))


def test_a_function_may_take_gradients() -> None:
    """Of scores to pixels: exactly 0 behind the wall, and its response 0 too."""
    model = NETWORKS["resnet"](0)

    def gradient(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
        images.requires_grad_()
        model(images).gather(1, target[:, None]).sum().backward()
        assert images.grad is not None
        return images.grad.abs().sum(dim=1)

    with torch.no_grad():
        assert response(model, images(model, 2), gradient).tolist() == [0.0, 0.0]


def test_a_method_that_only_the_package_has() -> None:
    """Runs there, whichever engine is asked for, as in `check`."""
    model = NETWORKS["efficientnet"](0)
    batch = images(model, 2)
    found = response(model, batch, "ShapleyCAM")
    assert torch.equal(found, response(model, batch, "ShapleyCAM", engine="grad-cam"))


def test_in_inference_mode() -> None:
    """Gradients are taken all the same."""
    model = NETWORKS["resnet"](0)
    batch = images(model, 2)
    expected = response(model, batch, "GradCAM")
    with torch.inference_mode():
        assert torch.equal(response(model, batch.clone(), "GradCAM"), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "GardCAM"}, "unknown method 'GardCAM'; known: "),
        ({"method": "GradCAM", "repaints": ["pink"]}, "unknown repaint 'pink'; known: other, zero"),
        ({"method": "GradCAM", "repaints": []}, "at least one repaint"),
        ({"method": "GradCAM", "target": 17}, "target 17 is not one of"),
        ({"method": "GradCAM", "engine": "shap"}, "unknown engine 'shap'"),
        ({"method": "Opti-CAM", "engine": "grad-cam"}, "has no Opti-CAM; use engine='camwall'"),
        ({"method": "GradCAM", "images": torch.zeros(0, 3, SIZE, SIZE)}, "no images to explain"),
        ({"method": "GradCAM", "images": torch.zeros(1, 3, 8, 8)}, "takes images of shape"),
        ({"method": lambda m, x, t: torch.ones(2, 4, 4)}, "gave maps of shape"),
    ],
)
def test_bad_input_costs_one_line(arguments: dict, message: str) -> None:
    """Each mistake has an error of one line that names it."""
    model = NETWORKS["resnet"](0)
    with pytest.raises(CamwallError, match=message) as caught:
        response(model, **{"images": images(model, 2), **arguments})
    assert "\n" not in str(caught.value)


def test_a_model_without_a_wall_is_refused() -> None:
    """With a way to make one."""
    bare = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, 2))
    with pytest.raises(CamwallError, match="build_wall"):
        response(bare, torch.zeros(1, 3, SIZE, SIZE), "GradCAM")  # type: ignore[arg-type]
