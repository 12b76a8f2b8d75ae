"""A model and its images are as found afterwards, also when the head fails on the way."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camwall import METHODS, WalledModel, explain
from tests.networks import NETWORKS, images, vgg_like

RUNS = [
    (name, engine)
    for name, m in METHODS.items()
    for engine in ("camwall", "grad-cam")
    if (m.raw is not None if engine == "camwall" else m.package is not None)
]
HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks_always_called",
)


def unsettle(model: WalledModel) -> None:
    """Give a model flags, gradients and hooks of its own, none of them the default."""
    for index, module in enumerate(model.modules()):
        module.training = index % 2 == 0
    for index, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(index % 3 != 1)
        if index % 2:
            parameter.grad = torch.full_like(parameter, float(index))
    model.head.register_forward_hook(lambda *_: None)


def snapshot(model: WalledModel, batch: Tensor) -> list[Any]:
    """Everything about model and images that a method might change."""
    found: list[Any] = [batch.clone(), batch.requires_grad, batch.grad, torch.get_rng_state()]
    found += [torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()]
    for name, module in model.named_modules(remove_duplicate=False):
        found += [name, id(module), module.training]
        found += [list(getattr(module, hooks)) for hooks in HOOKS]
    for name, parameter in model.named_parameters():
        found += [name, id(parameter), parameter.detach().clone(), parameter.requires_grad]
        found += [id(parameter.grad), None if parameter.grad is None else parameter.grad.clone()]
    for name, buffer in model.named_buffers():
        found += [name, id(buffer), buffer.clone()]
    return found


def assert_same(before: list[Any], after: list[Any]) -> None:
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        if isinstance(one, Tensor):
            assert torch.equal(one, other)
        else:
            assert one == other


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
