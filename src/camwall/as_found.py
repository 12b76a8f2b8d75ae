"""A model and a process are left as found, and scores are numbers."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, wraps
from operator import attrgetter
from typing import Any, ParamSpec, TypeVar
from zlib import crc32

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as of_all_modules

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
    """Whether what a module's class says is all that runs.

    No hook, of all modules neither, no method of its own, and not compiled to something else.
    """
    hooks = module._forward_hooks or module._forward_pre_hooks
    of_all = of_all_modules._global_forward_hooks or of_all_modules._global_forward_pre_hooks
    own = any(callable(getattr(type(module), name, None)) for name in vars(module))
    return not (hooks or of_all or own or module._compiled_call_impl)


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


def _backend(of: str, name: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    owner = attrgetter(of)  # read late: not in every torch
    return (
        lambda: getattr(owner(torch), name),
        lambda before: setattr(owner(torch), name, before),
    )


def _default_device() -> Any:
    """None where none was set, for which torch's own function says the CPU."""
    return getattr(getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None), "device", None)


def _autocasts() -> int:
    """How many autocasts are entered in one another."""
    torch.autocast_increment_nesting()
    return torch.autocast_decrement_nesting()


def _leave_autocasts(count: int) -> None:
    """Their weights in lower precision are kept until the last is left, also through training."""
    while _autocasts() > count:
        torch.autocast_decrement_nesting()
    torch.clear_autocast_cache()


#: What code can set for the whole process: how it is read, and set again.
_SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (_default_device, torch.set_default_device),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    _backend("backends", "fp32_precision"),  # of all; then of each, which it also sets
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    *(
        _backend(f"backends.{of}", "fp32_precision")
        for of in ("cuda.matmul", "mkldnn.matmul", "cudnn.conv", "cudnn.rnn")
    ),
    _backend("backends.mkldnn", "enabled"),
    *(
        (partial(torch.is_autocast_enabled, kind), partial(torch.set_autocast_enabled, kind))
        for kind in ("cpu", "cuda")
    ),
    (_autocasts, _leave_autocasts),
    (np.geterr, lambda before: np.seterr(**before)),
    (os.getcwd, os.chdir),
    (lambda: [*warnings.filters], partial(setattr, warnings, "filters")),
)
#: Where a tensor keeps its hooks.
_TENSOR_HOOKS = "_backward_hooks", "_post_accumulate_grad_hooks"


@contextmanager
def kept(model: nn.Module) -> Iterator[None]:
    """Give a model back what code of others can change of it, come what may.

    Gradients, of which it has none inside, which parameters ask for one, their hooks, types and
    layouts; each module's class, hooks, parts, mode and methods; hooks of all modules, and what is
    set for the whole process. Values of parameters and buffers are not: `values_digest` tells.
    """
    parameters = [(each, each.data, each.grad, each.requires_grad) for each in model.parameters()]
    hooks = [(each, at, getattr(each, at)) for each, *_ in parameters for at in _TENSOR_HOOKS]
    for parameter, *_ in parameters:
        parameter.grad = None
    modules = [(module, type(module), dict(vars(module))) for module in model.modules()]
    own = [value for _, _, before in modules for value in before.values()]
    # Itself and not a copy is put back, which the handles of earlier hooks know.
    of_all = [value for name, value in vars(of_all_modules).items() if name.startswith("_global")]
    dicts = [
        (each, dict(each))
        for each in (*own, *of_all, *(found for _, _, found in hooks))
        if isinstance(each, dict)
    ]
    settings = []
    for read, put in _SETTINGS:
        with suppress(Exception):  # not in this torch, mixed with older ones, a folder removed
            settings.append((read, put, read()))
    try:
        with torch.inference_mode(False):  # which is left behind where code enters it
            yield
    finally:
        for module, kind, content in modules:
            if type(module) is not kind:
                module.__class__ = kind
            now = vars(module)
            for name in now.keys() - content.keys():
                del now[name]
            now.update(content)
        for each, content in dicts:
            each.clear()
            each.update(content)
        for parameter, values, gradient, asked in parameters:
            parameter.data, parameter.grad = values, gradient
            parameter.requires_grad_(asked)
        for parameter, at, found in hooks:
            if getattr(parameter, at) is not found:
                setattr(parameter, at, found)
        for read, put, before in settings:
            with suppress(Exception):  # one that cannot be read or set keeps no other from it
                if read() != before:
                    put(before)


@contextmanager
def full_precision() -> Iterator[None]:
    """Let cuDNN's convolutions not round to TF32, by torch's newer settings where it has them."""
    cudnn = torch.backends.cudnn
    if not hasattr(cudnn, "conv"):
        with cudnn.flags(enabled=cudnn.enabled, allow_tf32=False):
            yield
        return
    before = cudnn.conv.fp32_precision
    cudnn.conv.fp32_precision = "ieee"
    try:
        yield
    finally:
        cudnn.conv.fp32_precision = before


@contextmanager
def same_bits(model: nn.Module) -> Iterator[None]:
    """Compute the same bits from call to call, whatever is hidden.

    Where geometry alone keeps hidden pixels from the scores, cuDNN and NNPACK stay out: by
    Winograd's or Fourier's transform their convolutions round with pixels from outside of their
    windows (NNPACK's in batches of 16 or more, on CPUs where oneDNN is not used).
    """
    cudnn, others = torch.backends.cudnn, not getattr(model, "by_geometry", True)
    before = cudnn.enabled, cudnn.deterministic, cudnn.benchmark
    cudnn.enabled = cudnn.enabled and others
    cudnn.deterministic, cudnn.benchmark = True, False
    (nnpack,) = torch.backends.nnpack.set_flags(False)
    torch.backends.nnpack.set_flags(nnpack and others)
    try:
        yield
    finally:
        cudnn.enabled, cudnn.deterministic, cudnn.benchmark = before
        torch.backends.nnpack.set_flags(nnpack)


Code = list[tuple[Any, dict[str, Any]]]


def running_code(model: nn.Module) -> Code:
    """What a pass calls by name: torch's functions, and the methods of all modules' classes."""
    classes = {kind for module in model.modules() for kind in type(module).__mro__[:-1]}
    return [(owner, dict(vars(owner))) for owner in (torch, torch.Tensor, F, *classes)]


def same_code(before: Code) -> bool:
    """Whether nothing of it has been replaced; new names do no harm."""
    return all(
        vars(owner).get(name) is value for owner, code in before for name, value in code.items()
    )


def plain_bytes(tensor: Tensor) -> Any:
    """The bytes of a tensor's values, also of types that NumPy has not."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def values_digest(model: nn.Module) -> int:
    """A checksum of all parameters, buffers and a wall, in milliseconds: it tells a change."""
    wall: Any = getattr(model, "wall", None)
    found = 0
    for value in (*model.parameters(), *model.buffers(), *([wall.hidden] if wall else [])):
        found = crc32(plain_bytes(value), found)
    return found
