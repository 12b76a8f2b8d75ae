"""Every wrong call is refused in one line that says what to do, before anything is computed."""

import pytest
import torch
from torch import nn

from camwall import METHODS, CamwallError, Method, explain
from camwall.methods import explain_each, opticam
from tests.helpers.networks import Parts, images, resnet_parts, vgg_like, walled


def refused(match: str, **call: object) -> None:
    model = call.pop("model", None) or vgg_like(0)
    batch = call.pop("batch", None)
    batch = images(model, 2) if batch is None else batch
    method = call.pop("method", "GradCAM")
    with pytest.raises(CamwallError, match=match) as caught:
        explain(model, batch, method, **call)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_unknown_method() -> None:
    """Named, with those that are known."""
    refused("unknown method 'GardCAM'; known: GradCAM, ", method="GardCAM")


def test_unknown_engine() -> None:
    """Named, with those there are."""
    refused("unknown engine 'shap'; known: camwall, grad-cam, captum", engine="shap")


def test_raw_maps_of_the_package() -> None:
    """It has none."""
    refused("no raw maps", engine="grad-cam", normalize=False)


def test_methods_that_one_engine_lacks() -> None:
    """The error names the other engine; what the package alone has runs under either, not raw."""
    model = vgg_like(0)
    ours, theirs = (
        explain(model, images(model, 2), "ShapleyCAM", engine=engine)
        for engine in ("camwall", "grad-cam")
    )
    assert torch.equal(ours, theirs)
    refused("ShapleyCAM has no raw maps here", method="ShapleyCAM", normalize=False)
    refused("has no Opti-CAM; use engine='camwall'", method="Opti-CAM", engine="grad-cam")


@pytest.mark.parametrize("engine", ["camwall", "grad-cam"])
@pytest.mark.parametrize(
    ("target", "match"),
    [
        (6, "target 6 is not one of the model's classes 0 to 5"),
        (-1, "target -1 is not one of"),
        ([0, 17], "target 17 is not one of"),
        ([1], "2 images need 2 targets"),
        ([[1, 2]], "2 images need 2 targets"),
        (1.0, "a target is a class index, not 1.0"),
        (True, "a target is a class index, not True"),
        ("cat", "a target is a class index, not 'cat'"),
        (torch.tensor([0.0, 1.0]), "a target is a class index"),
    ],
)
def test_targets_that_do_not_fit(engine: str, target: object, match: str) -> None:
    """Outside the classes, not one for each image, not an integer."""
    refused(match, target=target, engine=engine)


@pytest.mark.parametrize("engine", ["camwall", "grad-cam"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_not_numbers(engine: str, bad: float) -> None:
    """A broken weight is found at the scores."""
    model = vgg_like(0)
    with torch.no_grad():
        model.head[-1].bias[0] = bad
    refused("scores are not finite", model=model, engine=engine)


@pytest.mark.parametrize("engine", ["camwall", "grad-cam"])
def test_images_that_are_not_numbers(engine: str) -> None:
    """A NaN pixel too."""
    batch = images(vgg_like(0), 2)
    batch[0, 0, 0, 0] = float("nan")
    refused("images hold NaN", batch=batch, engine=engine)


@pytest.mark.parametrize("engine", ["camwall", "grad-cam"])
@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 1, 32, 32), (2, 3, 40, 32), (2, 3, 32, 40)])
def test_images_of_another_shape(engine: str, shape: tuple[int, ...]) -> None:
    """The shape wanted and the shape given."""
    refused(r"images of shape \[N, 3, 32, 32\]", batch=torch.zeros(shape), engine=engine)


@pytest.mark.parametrize("engine", ["camwall", "grad-cam"])
def test_no_images(engine: str) -> None:
    """An empty batch."""
    refused("no images to explain", batch=torch.zeros(0, 3, 32, 32), engine=engine)


@pytest.mark.parametrize("engine", ["camwall", "grad-cam"])
def test_images_of_another_type(engine: str) -> None:
    """Bytes, or double precision for a model in single: said, not a traceback from a layer."""
    refused("uint8", batch=torch.zeros(2, 3, 32, 32, dtype=torch.uint8), engine=engine)
    refused("float64", batch=torch.zeros(2, 3, 32, 32, dtype=torch.float64), engine=engine)


def test_opticam_settings() -> None:
    """No steps, or a rate that does not climb."""
    for steps, rate in ((0, 0.1), (10, 0.0), (10, -1.0), (10, float("nan"))):
        with pytest.raises(CamwallError, match="steps ≥ 1 and rate > 0"):
            opticam(steps, rate)


def test_a_method_of_ones_own() -> None:
    """A `Method` works where a name does, without being registered."""
    from dataclasses import replace

    own = replace(METHODS["GradCAM"], name="mine", raw=lambda shared: shared.maps.mean(dim=1))
    assert isinstance(own, Method)
    model = vgg_like(0)
    batch = images(model, 2)
    raw = explain_each(model, batch, ["GradCAM", own], normalize=False)["mine"]
    torch.testing.assert_close(raw, model.features(batch).mean(dim=1))
    assert "mine" not in METHODS


def test_a_head_that_is_no_stack_of_layers_is_used_as_it_is() -> None:
    """A head of unknown kind behind `build_wall`: AblationCAM still agrees with the package."""

    class Odd(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            return self.inner(maps.square())

    base = resnet_parts(0)
    model = walled(Parts(base.features, Odd(base.head)), 20)
    batch = images(model, 2)
    for name in ("GradCAM", "AblationCAM", "ScoreCAM"):
        torch.testing.assert_close(
            explain(model, batch, name),
            explain(model, batch, name, engine="grad-cam"),
            atol=1e-4,
            rtol=0,
        )
