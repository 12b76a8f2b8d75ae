"""Twins: one picture twice, of which the network reads one; √½, 0, or what lies between."""

from dataclasses import replace
from math import isnan, sqrt

import pytest
import torch
from torch import Tensor, nn

import camwall
from camwall import METHODS, CamwallError, Preprocessing, build_wall, twins
from camwall.config import quick
from camwall.methods import STUDIED, Mechanism, Method, chosen, opticam
from camwall.metrics import twins_each
from camwall.models import WalledModel
from camwall.theory import windowed_gradcam
from tests.helpers.architectures import OTHERS, POOLED, SIZE, architecture, prepared
from tests.helpers.as_found import assert_same, snapshot
from tests.helpers.networks import (
    CLASSES,
    PLAIN,
    Parts,
    efficientnet_parts,
    randomise,
    resnet_parts,
)

AXES = ("rows", "columns")
PARTS = {"resnet": resnet_parts, "efficientnet": efficientnet_parts}
#: Those that need a pass for each channel are tried on small networks.
CHEAP = [name for name, method in METHODS.items() if method.raw and "Score" not in name]
CHEAP.remove("Opti-CAM")
ROUNDING = 1e-5  # of maps that were resized


def picture(size: int = 32, seed: int = 0) -> Tensor:
    """A network input [3, size, size], smooth noise."""
    coarse = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    pixels = nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)
    return PLAIN.normalize(pixels)[0]


def of_parts(parts: Parts, method, image: Tensor | None = None, **options) -> camwall.metrics.Twins:
    image = picture() if image is None else image
    return twins(parts, method, image, layer="0", preprocessing=PLAIN, **options)


def found_as_registered(found: camwall.metrics.Twins, method: Method) -> None:
    """What the mechanism says of a method is what its twins show."""
    exact = method.raw is not None
    same = found.equal if exact else found.difference <= ROUNDING
    assert method.sees_through == same, str(found)
    if method.sees_through:
        assert abs(found.leak - sqrt(0.5)) <= (1e-12 if exact else ROUNDING), str(found)
    elif method.mechanism is Mechanism.POSITION_WISE:
        assert found.leak == 0, str(found)
        assert found.original.any()
    else:
        assert method.mechanism is Mechanism.CENTRED
        assert found.copy.std() <= 1e-6, "a veil: one value throughout"
        if exact:  # cut at 0 it is either gone or the brightest there is
            assert 0 < found.leak < sqrt(0.5), str(found)


# ---------------------------------------------------------------------------------------------
# What the theorem says


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("network", PARTS)
def test_every_registered_method(network: str, axis: str) -> None:
    """Equal bit for bit, 0 or between, as the register says; resized maps up to rounding."""
    own = [opticam(steps=3) if name == "Opti-CAM" else name for name in STUDIED]
    packaged = [
        replace(method, name=f"{method.name}, grad-cam")
        for method in chosen(
            [m for m in METHODS.values() if "grad-cam" in m.packages and m.raw], "grad-cam"
        )
    ]
    methods = chosen([*own, *packaged])
    for seed in range(3):
        found = twins_each(
            PARTS[network](seed),
            methods,
            picture(seed=seed),
            layer="0",
            axis=axis,
            preprocessing=PLAIN,
        )
        for method in methods:
            found_as_registered(found[method.name], method)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", [*POOLED, *OTHERS])
def test_architectures(name: str, axis: str) -> None:
    """Of networks of all kinds, at their own input: ViT, windows, dense heads among them."""
    if quick() and axis == "columns" and name in ("vgg11_bn", "alexnet", "convnext_tiny", "swin_t"):
        pytest.skip("one axis in a smoke run")
    network = architecture(name)
    found = twins_each(network, CHEAP, picture(SIZE), preprocessing=prepared(), axis=axis)
    for method in CHEAP:
        found_as_registered(found[method], METHODS[method])


@pytest.mark.skipif(quick(), reason="takes minutes")
@pytest.mark.parametrize("axis", AXES)
def test_trained_weights(axis: str) -> None:
    """EfficientNet-Lite0 with its ImageNet weights."""
    found = twins_each(camwall.efficientnet_lite0(), [*CHEAP, "Opti-CAM"], axis=axis)
    for name, each in found.items():
        found_as_registered(each, METHODS[name])


@pytest.mark.parametrize("axis", AXES)
def test_the_original_written_out(axis: str) -> None:
    """Either half of GradCAM is half of it on the network alone; HiResCAM is the network's own."""
    for seed in range(5):
        parts, image = resnet_parts(seed).double(), picture(seed=seed).double()
        maps = parts.features(image[None])
        scores = parts.head(maps)
        (gradient,) = torch.autograd.grad(scores[0, 4], maps)
        grad = sum(gradient[0, v].mean() * maps[0, v] for v in range(maps.shape[1]))
        hires = (gradient[0] * maps[0]).sum(dim=0)
        found = of_parts(parts, "GradCAM", image, target=4, axis=axis)
        for half in (found.original, found.copy):
            torch.testing.assert_close(half, grad.detach() / 2, atol=1e-12, rtol=1e-12)
        found = of_parts(parts, "HiResCAM", image, target=4, axis=axis)
        torch.testing.assert_close(found.original, hires.detach(), atol=1e-12, rtol=1e-12)
        assert not found.copy.any()


def test_the_network_that_is_asked_is_the_network() -> None:
    """The scores are the network's own of the picture, bit for bit, and no pixel of the copy's."""
    parts, image = efficientnet_parts(1), picture()

    def asked(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
        assert torch.equal(images[0, :, :32], image)
        assert torch.equal(images[0, :, 32:], image)
        assert torch.equal(model(images), parts(image[None]))
        images = images.requires_grad_()
        (gradient,) = torch.autograd.grad(model(images).square().sum(), images)
        assert not gradient[0, :, 32:].any()
        camwall.certify(model)
        return gradient.abs().sum(dim=1)

    found = of_parts(parts, asked)
    assert (found.leak, found.method) == (0.0, "asked")


def test_top_class_and_layer() -> None:
    """The top class by default; any layer, named or as a module."""
    parts = resnet_parts(2)
    with torch.no_grad():
        top = int(parts(picture()[None]).argmax())
    default, named = (of_parts(parts, "GradCAM", target=unit) for unit in (None, top))
    assert torch.equal(default.original, named.original)
    assert not torch.equal(
        default.original, of_parts(parts, "GradCAM", target=(top + 1) % CLASSES).original
    )
    early = parts.features[3]
    for layer in (early, "0.3"):
        found = twins(parts, "XGradCAM", layer=layer, preprocessing=PLAIN)
        assert found.original.shape == (16, 16)
        assert found.equal


def test_noise_where_no_picture_is_given() -> None:
    """The same each time; a batch of one is one image."""
    parts = resnet_parts(0)
    first, second = (twins(parts, "GradCAM", preprocessing=PLAIN) for _ in range(2))
    assert torch.equal(first.original, second.original)
    one, batch = (of_parts(parts, "GradCAM", image) for image in (picture(), picture()[None]))
    assert torch.equal(one.original, batch.original)


# ---------------------------------------------------------------------------------------------
# What lies between, and what it does not say


@pytest.mark.parametrize("axis", AXES)
def test_the_dial(axis: str) -> None:
    """Windows: 0 at radius 0, above 0 once they reach over, √½ and equal once they cover all."""
    dial = [
        Method(
            f"radius {r}",
            "a mean over a window",
            Mechanism.OWN,
            "",
            raw=lambda evidence, r=r: windowed_gradcam(evidence.maps, evidence.gradients, r),
        )
        for r in range(17)
    ]
    for seed in range(5):
        found = list(
            twins_each(
                resnet_parts(seed),
                dial,
                picture(seed=seed),
                layer="0",
                axis=axis,
                preprocessing=PLAIN,
            ).values()
        )
        assert found[0].leak == 0
        for radius, each in enumerate(found[1:15], start=1):
            assert each.leak > 0, radius
            assert not each.equal
            lines = each.copy if axis == "rows" else each.copy.mT
            assert not lines[radius:].any(), "a cell is lit when its window reaches over the wall"
        for each in found[15:]:
            assert each.difference < 1e-6
            assert abs(each.leak - sqrt(0.5)) < 1e-6


def test_the_veil() -> None:
    """EigenGradCAM: the copy has one value, minus the mean of the original; √½ at most."""
    for seed in range(20):
        found = of_parts(
            efficientnet_parts(seed).double(), "EigenGradCAM", picture(seed=seed).double()
        )
        assert 0 < found.leak <= sqrt(0.5)
        expected = -found.original.mean()
        torch.testing.assert_close(found.copy, expected.expand_as(found.copy))


def test_a_constant_does_not_see_and_a_prior_does() -> None:
    """Equal halves convict a map of pointing at the copy, not of looking; unequal ones acquit
    nobody: a weight of the place that comes from no gradient."""

    def constant(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
        return torch.ones(len(images), *images.shape[2:])

    slope = torch.linspace(1, 2, 16)[:, None]
    prior = replace(
        METHODS["GradCAM"], name="prior", raw=lambda e: METHODS["GradCAM"].raw(e) * slope
    )
    parts = resnet_parts(0)
    assert of_parts(parts, constant).equal
    assert camwall.response(walled(parts), picture()[None], constant).tolist() == [0.0]
    found = of_parts(parts, prior)
    assert not found.equal
    assert found.leak > sqrt(0.5)
    assert float(camwall.response(walled(parts, 16), picture()[None], halved(prior))) > 0


def walled(parts: Parts, row: int = 16) -> WalledModel:
    return build_wall(parts, row, "0", preprocessing=PLAIN)


def halved(method: Method) -> Method:
    """A method of 16 rows of cells on the 8 of one picture."""
    return replace(
        method, raw=lambda e: METHODS["GradCAM"].raw(e) * torch.linspace(1, 2, 8)[:, None]
    )


def test_it_is_equal_maps_that_count() -> None:
    """Not equal pictures: mirrored, or side by side in one pass, they have other maps."""
    for parts in (resnet_parts(0), efficientnet_parts(0)):
        image = picture()[None]
        with torch.no_grad():
            maps, mirrored = parts.features(image), parts.features(image.flip(3)).flip(3)
            together = parts.features(torch.cat([image, image], dim=2)).chunk(2, dim=2)
        for other, own in ((mirrored, maps), together):
            assert (other - own).norm() > 0.05 * own.norm()


def test_position_embeddings() -> None:
    """A ViT gives equal halves of one input different tokens, and equal inputs equal ones."""
    vit = architecture("vit")
    half = picture(SIZE)[:, : SIZE // 2]
    layer = build_wall(vit, SIZE // 2, preprocessing=prepared()).layer
    with torch.no_grad():
        output = layer.output(vit, torch.cat([half, half], dim=1)[None])
        first, second = layer.maps(output, (SIZE, SIZE)).chunk(2, dim=2)
    assert (first - second).norm() > 0.05 * first.norm()
    assert twins(vit, "GradCAM", picture(SIZE), preprocessing=prepared()).equal


def test_resized_together_the_halves_mix() -> None:
    """A method that resizes is compared without the margin that bilinear resizing mixes."""
    parts = resnet_parts(0)

    def shown(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
        return camwall.explain(model, images, "GradCAM", target)

    found = of_parts(parts, shown)
    assert found.original.shape == (32 - 2 * 2, 32)
    assert found.difference < ROUNDING
    whole = []

    def kept(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
        whole.append(shown(model, images, target))
        return whole[-1]

    of_parts(parts, kept)
    above, below = whole[0][0].chunk(2)
    assert (above - below).abs().max() > 0.01
    assert (above - below)[2:-2].abs().max() < ROUNDING


# ---------------------------------------------------------------------------------------------
# As a user meets it


def test_prints_as_one_line() -> None:
    parts = resnet_parts(0)
    said = {name: str(of_parts(parts, name)) for name in ("GradCAM", "HiResCAM", "EigenGradCAM")}
    assert said["GradCAM"] == "GradCAM: leak 0.7071, the halves are equal bit for bit"
    assert said["HiResCAM"] == (
        "HiResCAM: leak 0.0000, nothing on the copy, which the network does not read"
    )
    assert said["EigenGradCAM"].startswith("EigenGradCAM: leak 0.")
    assert "the halves differ by" in said["EigenGradCAM"]
    empty = replace(METHODS["GradCAM"], name="none", raw=lambda e: 0 * METHODS["GradCAM"].raw(e))
    found = of_parts(parts, empty)
    assert isnan(found.leak)
    assert str(found) == "none: 0 on both halves, which says nothing; try another image"
    assert not any("\n" in line for line in [*said.values(), str(found)])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"axis": "diagonal"}, "unknown axis 'diagonal'; known: rows, columns"),
        ({"method": "GradCam"}, "unknown method 'GradCam'"),
        ({"image": torch.zeros(3, 16, 16)}, r"images of shape \[N, 3, 32, 32\]"),
        ({"image": torch.zeros(2, 3, 32, 32)}, "one image, not 2"),
        ({"image": torch.zeros(3, 32, 32).double()}, "convert one of them"),
        ({"target": 6}, "target 6 is not one of the model's classes"),
        ({"layer": "nowhere"}, "no layer 'nowhere'"),
        ({"preprocessing": None}, "how images are prepared"),
        ({"network": "resnet18"}, "how images are prepared|torch.nn.Module"),
    ],
)
def test_refused_in_one_line(change: dict, says: str) -> None:
    given = {
        "network": resnet_parts(0),
        "method": "GradCAM",
        "image": picture(),
        "preprocessing": PLAIN,
    }
    with pytest.raises(CamwallError, match=says) as error:
        twins(**(given | change))
    assert "\n" not in str(error.value)


def test_what_cannot_be_compared_is_refused() -> None:
    """Maps that are no numbers, a walled model, equal inputs with different maps."""
    parts = resnet_parts(0)
    wrong = replace(METHODS["GradCAM"], name="wrong", raw=lambda e: METHODS["GradCAM"].raw(e) / 0)
    with pytest.raises(CamwallError, match="wrong gives a map that holds NaN or infinite values"):
        of_parts(parts, wrong)
    with pytest.raises(CamwallError, match="no wall yet"):
        twins(walled(parts), "GradCAM", preprocessing=PLAIN)

    class Counting(nn.Module):
        """Its maps alone, not its scores, change from call to call, of all copies."""

        calls = 0

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, images: Tensor) -> Tensor:
            Counting.calls += 1
            maps = self.scale * nn.functional.avg_pool2d(images, 4)
            return torch.cat([maps, torch.full_like(maps[:, :1], Counting.calls)], dim=1)

    class Heedless(nn.Module):
        def forward(self, maps: Tensor) -> Tensor:
            return maps[:, :3].mean(dim=(2, 3))

    network = Parts(Counting(), Heedless())
    with pytest.raises(CamwallError, match="two equal images different maps"):
        of_parts(network, "GradCAM")


def test_the_network_is_left_as_found() -> None:
    """Modes, gradients, hooks, weights, image, random state; also in inference mode."""
    parts, image = resnet_parts(0), picture()
    for index, module in enumerate(parts.modules()):
        module.training = index % 2 == 0
    parts[1][2].weight.grad = torch.ones_like(parts[1][2].weight)
    before = snapshot(parts, image)  # type: ignore[arg-type]
    first = of_parts(parts, "GradCAM", image)
    assert_same(before, snapshot(parts, image))  # type: ignore[arg-type]
    with torch.inference_mode():
        again = of_parts(parts, "GradCAM", image)
    assert torch.equal(first.original, again.original)


def test_frozen_weights_and_half_precision() -> None:
    """Frozen parameters; bfloat16, where equal sums are equal too."""
    parts = resnet_parts(0).requires_grad_(False)
    assert of_parts(parts, "GradCAM").equal
    found = twins(parts.bfloat16(), "GradCAM", preprocessing=PLAIN)
    assert found.equal
    assert abs(found.leak - sqrt(0.5)) < 1e-12


def test_its_own_size() -> None:
    """An input that is not square, halves along either side."""
    parts, wide = resnet_parts(0), Preprocessing(PLAIN.mean, PLAIN.std, None, (24, 40))
    for axis in AXES:
        found = twins(parts, "GradCAM", layer="0", axis=axis, preprocessing=wide)
        assert found.original.shape == (6, 10)
        assert found.equal
    network = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Flatten(), nn.Linear(4 * 3 * 5, 6))
    randomise(network, 0)
    assert twins(network, "XGradCAM", layer="0", preprocessing=wide).equal
