"""Everything about a model and its images that a function might change."""

from typing import Any

import torch
from torch import Tensor

from camwall import WalledModel

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
    model.target_layer.register_forward_hook(lambda *_: None)


def snapshot(model: WalledModel, batch: Tensor) -> list[Any]:
    """Images, modules, modes, hooks, parameters, gradients, buffers, torch's global state."""
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
    """Two snapshots, value for value."""
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        if isinstance(one, Tensor):
            assert torch.equal(one, other)
        else:
            assert one == other
