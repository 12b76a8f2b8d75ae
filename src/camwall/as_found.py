"""Small things every use of a model needs: it is left as found, and its scores are numbers."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from camwall.errors import CamwallError

with warnings.catch_warnings():
    # accelerate imports tqdm.auto, which prints into every notebook that ipywidgets is missing.
    warnings.filterwarnings("ignore", message="IProgress not found")
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

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


def finite(scores: Tensor) -> Tensor:
    """``scores`` themselves, or an error if one of them is NaN or infinite."""
    if not torch.isfinite(scores).all():
        raise CamwallError(
            "the model's scores are not finite (NaN or infinite): nothing can be certified or "
            "explained; check the weights and the images' normalisation"
        )
    return scores


def processes() -> PartialState:
    """This process among those of a launcher, and its device.

    accelerate joins several processes without an accelerator only where it is told to use the CPU.
    Those that are done wait for the others for up to a week, not for torch's half an hour.
    """
    return PartialState(
        cpu=not torch.accelerator.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU"),
        timeout=timedelta(weeks=1),
    )


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
