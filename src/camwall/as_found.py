"""Small things every use of a model needs: it is left as found, and its scores are numbers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from zlib import crc32

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
def kept(model: nn.Module) -> Iterator[None]:
    """Give a model back what code of others can change of it, come what may.

    Gradients, of which it has none inside, and which parameters ask for one; each module's hooks,
    parts, mode and methods. Values of parameters and buffers are not: `values_digest` tells.
    """
    gradients = [(each, each.grad, each.requires_grad) for each in model.parameters()]
    for parameter, _, _ in gradients:
        parameter.grad = None
    modules = [(module, dict(vars(module))) for module in model.modules()]
    # Itself and not a copy is put back, which the handles of earlier hooks know.
    dicts = [
        (each, dict(each)) for _, own in modules for each in own.values() if isinstance(each, dict)
    ]
    try:
        yield
    finally:
        for module, before in modules:
            now = vars(module)
            for name in now.keys() - before.keys():
                if callable(getattr(type(module), name, None)):  # what is cached may stay
                    del now[name]
            now.update(before)
        for each, content in dicts:
            each.clear()
            each.update(content)
        for parameter, gradient, asked in gradients:
            parameter.grad = gradient
            parameter.requires_grad_(asked)


@contextmanager
def same_bits(model: nn.Module) -> Iterator[None]:
    """Let a GPU compute the same bits from call to call, whatever is hidden.

    Where geometry alone keeps hidden pixels from the scores, cuDNN stays out: by Winograd's or
    Fourier's transform its convolutions round with pixels from outside of their windows.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.enabled, cudnn.deterministic, cudnn.benchmark
    cudnn.enabled = cudnn.enabled and not getattr(model, "by_geometry", True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.enabled, cudnn.deterministic, cudnn.benchmark = before


def plain_bytes(tensor: Tensor) -> Any:
    """The bytes of a tensor's values, also of types that NumPy has not."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def values_digest(model: nn.Module) -> int:
    """A checksum of all parameters and buffers, a matter of milliseconds: it tells a change."""
    found = 0
    for value in (*model.parameters(), *model.buffers()):
        found = crc32(plain_bytes(value), found)
    return found
