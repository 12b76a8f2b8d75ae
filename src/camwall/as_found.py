"""Small things every use of a model needs: it is left as found, and its scores are numbers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from camwall.errors import CamwallError

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put ``model`` in evaluation mode, and give each module its own flag back, come what may."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training


def unhooked(module: nn.Module) -> bool:
    """Whether what a module's class says is all that runs: no hook, no ``forward`` of its own."""
    hooks = module._forward_hooks or module._forward_pre_hooks
    return not hooks and "forward" not in vars(module)


def finite(scores: Tensor) -> Tensor:
    """``scores`` themselves, or an error if one of them is NaN or infinite."""
    if not torch.isfinite(scores).all():
        raise CamwallError(
            "the model's scores are not finite (NaN or infinite): nothing can be certified or "
            "explained; check the weights and the images' normalisation"
        )
    return scores


def outside_inference_mode(function: Callable[P, R]) -> Callable[P, R]:
    """Let ``function`` take gradients also where it is called in torch's inference mode."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if not torch.is_inference_mode_enabled():
            return function(*args, **kwargs)
        with torch.inference_mode(False), torch.no_grad():  # as inference mode has none
            return function(*args, **kwargs)

    return run


@contextmanager
def gradients_kept(model: nn.Module) -> Iterator[None]:
    """Give each parameter its gradient back, come what may; inside it has none."""
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    for parameter, _ in gradients:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
