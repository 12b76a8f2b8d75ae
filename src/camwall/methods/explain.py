"""From a model, images and a method's name to saliency maps."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from camwall.as_found import evaluating, gradients_kept, outside_inference_mode
from camwall.errors import CamwallError
from camwall.methods.adapters.grad_cam import explain_with_package
from camwall.methods.evidence import Evidence, Target
from camwall.methods.registry import Method, find
from camwall.methods.rendering import render
from camwall.models import WalledModel

Engine = Literal["camwall", "grad-cam"]

#: A saliency method of one's own: (model, images [N, C, H, W], target [N]) → maps [N, H, W].
SaliencyFunction = Callable[[WalledModel, Tensor, Tensor], Tensor]


def check_engine(engine: str, methods: Iterable[Method]) -> None:
    """Refuse an engine that there is not, or that does not have one of the methods.

    Raises
    ------
    CamwallError
    """
    if engine not in get_args(Engine):
        raise CamwallError(f"unknown engine {engine!r}; known: {', '.join(get_args(Engine))}")
    for method in methods:
        if engine == "grad-cam" and method.package is None:
            raise CamwallError(f"the package grad-cam has no {method.name}; use engine='camwall'")
        if engine == "camwall" and method.raw is None:
            raise CamwallError(f"only the package has {method.name}; use engine='grad-cam'")


@contextmanager
def _same_draws() -> Iterator[None]:
    """The same random numbers for every call, and the caller's own sequence goes on after it."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - other people draw from it
    with torch.random.fork_rng():
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        torch.manual_seed(0)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002


def saliency(
    shared: Evidence, method: Method | SaliencyFunction, engine: Engine = "camwall"
) -> Tensor:
    """The maps of any method on a pass's images; one that draws has the same numbers each time.

    Returns
    -------
    tensor [N, h, w]
        Raw maps of our engine's methods, cut at 0.
    tensor [N, H, W]
        What a method of the package grad-cam, or a function, gives.

    Raises
    ------
    CamwallError
        A function's maps are not [N, H, W].
    """
    if isinstance(method, Method) and engine == "camwall" and method.raw is not None:
        return method.raw(shared).detach().clamp(min=0)
    with _same_draws():
        if isinstance(method, Method):
            return explain_with_package(shared.model, shared.images, method, shared.target)
        # Its own copies, and the model as it was: what it does to them is not for the next method.
        with evaluating(shared.model), gradients_kept(shared.model), torch.enable_grad():
            found = method(shared.model, shared.images.clone(), shared.target.clone())
    maps = found.detach() if isinstance(found, Tensor) else torch.as_tensor(np.asarray(found))
    wanted = [len(shared.images), *shared.images.shape[2:]]
    if list(maps.shape) != wanted:
        raise CamwallError(
            f"{getattr(method, '__name__', type(method).__name__)} gave maps of shape "
            f"{list(maps.shape)}; a saliency function returns {wanted}, one map at the image's "
            "size for each image"
        )
    return maps


def shown(
    maps: Tensor, method: Method | SaliencyFunction, engine: Engine, shared: Evidence
) -> Tensor:
    """What `saliency` gives as it is shown, [N, H, W]: raw maps stretched to [0, 1] and resized."""
    raw = isinstance(method, Method) and engine == "camwall" and method.raw is not None
    return render(maps, shared.model.wall.shape) if raw else maps


def explain(
    model: WalledModel,
    images: Tensor,
    method: str | Method,
    target: Target = None,
    *,
    normalize: bool = True,
    engine: Engine = "camwall",
    visible_only: bool = True,
    chunk: int = 4,
) -> Tensor:
    """Saliency maps of one method.

    Parameters
    ----------
    model : WalledModel
        Left as found: modes, gradients, hooks.
    images : tensor [N, C, H, W]
        Network inputs; ``model.preprocessing`` makes them from photographs.
    method : str or Method
        A name in `METHODS`, or a method of one's own.
    target : int, sequence of int, tensor [N] or None
        The class to explain; None for each image's top class.
    normalize : bool
        ``False`` gives the raw maps [N, h, w], cut at 0 but neither resized nor stretched. They
        can be differentiated through, to the images and the model's parameters, unless gradients
        are disabled; the channel weights of ScoreCAM and Opti-CAM count as constants.
    engine : "camwall" or "grad-cam"
        Our engine, or the package of that name, which has some methods of its own.
    visible_only : bool
        Let our engine leave out what the model cannot see.
    chunk : int
        Perturbed copies at a time, in our engine's ScoreCAM and AblationCAM.

    Returns
    -------
    tensor [N, H, W] in [0, 1], or [N, h, w] for ``normalize=False``

    Raises
    ------
    CamwallError
        An unknown method or engine, images or targets that do not fit, scores that are not finite.
    """
    return explain_each(
        model,
        images,
        [method],
        target,
        normalize=normalize,
        engine=engine,
        visible_only=visible_only,
        chunk=chunk,
    )[find(method).name]


@outside_inference_mode
def explain_each(
    model: WalledModel,
    images: Tensor,
    methods: Sequence[str | Method],
    target: Target = None,
    *,
    normalize: bool = True,
    engine: Engine = "camwall",
    visible_only: bool = True,
    chunk: int = 4,
) -> dict[str, Tensor]:
    """Saliency maps of several methods, by name, from one pass; see `explain`."""
    wanted = [find(method) for method in methods]
    check_engine(engine, wanted)
    if engine == "grad-cam":
        if not normalize:
            raise CamwallError("the package grad-cam has no raw maps; use engine='camwall'")
        return {m.name: explain_with_package(model, images, m, target) for m in wanted}
    differentiable = not normalize and torch.is_grad_enabled()
    found = {}
    with evaluating(model):
        shared = Evidence(
            model,
            images,
            target,
            visible_only=visible_only,
            differentiable=differentiable,
            chunk=chunk,
        )
        for method in wanted:
            raw = method.raw(shared)  # type: ignore[misc]
            if normalize:
                found[method.name] = render(raw.detach(), (images.shape[2], images.shape[3]))
            else:
                found[method.name] = raw.clamp(min=0)
    return found
