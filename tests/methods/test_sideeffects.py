"""A model and its images are as found afterwards, also when the head fails on the way."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from camwall import METHODS, explain
from camwall.methods import STUDIED
from tests.helpers.as_found import assert_same, snapshot, unsettle
from tests.helpers.networks import NETWORKS, images, vgg_like

RUNS = [
    (name, engine)
    for name in STUDIED
    for engine in ("camwall", "grad-cam")
    if engine in METHODS[name].engines
]


@pytest.mark.parametrize(("method", "engine"), RUNS)
def test_everything_is_as_found(method: str, engine: str) -> None:
    """Hooks, modes, modules, gradients, requires_grad, buffers, images and random state."""
    for make in NETWORKS.values():
        model = make(0)
        unsettle(model)
        batch = images(model, 2)
        before = snapshot(model, batch)
        explain(model, batch, method, engine=engine)  # type: ignore[arg-type]
        assert_same(before, snapshot(model, batch))


class Fragile(nn.ReLU):
    """A ReLU that fails after some calls."""

    left: int

    def forward(self, values: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("the head broke")
        return super().forward(values)


@pytest.mark.parametrize(("method", "engine"), RUNS)
@pytest.mark.parametrize("calls", [0, 1, 2])
def test_everything_is_as_found_after_an_exception_in_the_head(
    method: str, engine: str, calls: int
) -> None:
    """The error reaches the caller, the model is untouched and works again."""
    model = vgg_like(0)
    model.head[2] = fragile = Fragile()
    unsettle(model)
    batch = images(model, 2)
    run: Callable[[], Tensor] = lambda: explain(model, batch, method, engine=engine)  # noqa: E731
    fragile.left = 10**6
    expected = run()
    used = 10**6 - fragile.left
    assert used > 0, "the head is used at least once"
    before = snapshot(model, batch)
    fragile.left = calls
    if calls >= used:
        return
    with pytest.raises(RuntimeError, match="the head broke"):
        run()
    fragile.left = 10**6
    assert_same(before, snapshot(model, batch))
    assert torch.equal(run(), expected)


@pytest.mark.parametrize("engine", ["camwall", "grad-cam"])
def test_a_frozen_model_and_images_that_want_gradients(engine: str) -> None:
    """No parameter needs to require a gradient; images that do get none."""
    model = vgg_like(0)
    expected = explain(model, images(model, 2), "GradCAM")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    batch = images(model, 2).requires_grad_()
    before = snapshot(model, batch)
    for name in ("GradCAM", "ScoreCAM", "AblationCAM"):
        maps = explain(model, batch, name, engine=engine)  # type: ignore[arg-type]
        assert not maps.requires_grad
        if name == "GradCAM":
            torch.testing.assert_close(maps, expected, atol=1e-4, rtol=0)
    assert_same(before, snapshot(model, batch))
    plain = explain(model, batch.detach(), "GradCAM", engine=engine)  # type: ignore[arg-type]
    torch.testing.assert_close(plain, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("engine", ["camwall", "grad-cam"])
def test_explaining_prints_nothing(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No progress bar or remark of the package's own comes through."""
    model = vgg_like(0)
    for name in (name for name, used in RUNS if used == engine):
        explain(model, images(model, 1), name, engine=engine)  # type: ignore[arg-type]
    assert capsys.readouterr() == ("", "")
