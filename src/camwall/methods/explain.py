"""From a model, images and a method's name to saliency maps; and all methods, by name."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from camwall.as_found import evaluating, gradients_kept, outside_inference_mode
from camwall.errors import CamwallError
from camwall.methods.adapters.grad_cam import GRAD_CAM, through_package
from camwall.methods.cams import CAMS
from camwall.methods.components import COMPONENTS
from camwall.methods.evidence import Evidence, Target
from camwall.methods.opticam import opticam
from camwall.methods.perturbation import PERTURBATIONS
from camwall.methods.registry import Mechanism, Method
from camwall.methods.rendering import render
from camwall.models import WalledModel

Engine = Literal["camwall", "grad-cam"]

#: A saliency method of one's own: (model, images [N, C, H, W], target [N]) → maps [N, H, W].
SaliencyFunction = Callable[[WalledModel, Tensor, Tensor], Tensor]
AnyMethod = str | Method | SaliencyFunction

#: Every method by its name; one of your own needs no entry.
METHODS: dict[str, Method] = {
    method.name: method for method in (*CAMS, *COMPONENTS, opticam(), *GRAD_CAM, *PERTURBATIONS)
}


def find(method: AnyMethod, engine: Engine = "camwall") -> Method:
    """The method that a name, a method or a function stands for.

    Parameters
    ----------
    method : str, Method or function
    engine : "camwall" or "grad-cam"
        Ours, or the package of that name for the methods it has.

    Raises
    ------
    CamwallError
        An unknown name or engine, with those that are known; a method that the package has not.
    """
    if engine not in get_args(Engine):
        raise CamwallError(f"unknown engine {engine!r}; known: {', '.join(get_args(Engine))}")
    if isinstance(method, str):
        if method not in METHODS:
            raise CamwallError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
        method = METHODS[method]
    if isinstance(method, Method):
        return through_package(method) if engine == "grad-cam" and method.raw else method
    if not callable(method):
        raise CamwallError(f"a method is a name, a Method or a function, not {method!r}")
    return _of_function(method)


def chosen(methods: Sequence[AnyMethod] | AnyMethod, engine: Engine = "camwall") -> list[Method]:
    """The methods of a list, each once.

    Raises
    ------
    CamwallError
        What `find` refuses; no method, or two of one name.
    """
    if isinstance(methods, str | Method) or callable(methods):
        methods = [methods]
    found = [find(method, engine) for method in methods]
    names = [method.name for method in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise CamwallError(f"the method {twice} is asked for twice; give each its own name")
    if not found:
        raise CamwallError("no methods to check: the list is empty")
    return found


def _of_function(function: SaliencyFunction) -> Method:
    """A function of one's own as a method: it gets copies, and the model as it was."""
    name = getattr(function, "__name__", type(function).__name__)

    def rendered(evidence: Evidence) -> Tensor:
        model, images = evidence.model, evidence.images
        with evaluating(model), gradients_kept(model), torch.enable_grad():
            found = function(model, images.clone(), evidence.target.clone())
        maps = found.detach() if isinstance(found, Tensor) else torch.as_tensor(np.asarray(found))
        wanted = [len(images), *images.shape[2:]]
        if list(maps.shape) != wanted:
            raise CamwallError(
                f"{name} gave maps of shape {list(maps.shape)}; a saliency function returns "
                f"{wanted}, one map at the image's size for each image"
            )
        return maps

    return Method(name, "a function", Mechanism.OWN, None, reference="", rendered=rendered)


@contextmanager
def same_draws() -> Iterator[None]:
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


class Saliency:
    """The maps of a method on the images of a pass; a method that draws draws the same each time.

    Attributes
    ----------
    method : Method
    raw : tensor [N, h, w], or None
        Before negative values are cut; None of a method of another package or one's own.
    cut : tensor [N, h, w], or [N, H, W] where there are no raw maps
        Without what is negative, neither resized nor stretched.
    shown : tensor [N, H, W]
        As `explain` gives them, at least in single precision.

    Raises
    ------
    CamwallError
        A function's maps are not [N, H, W].
    """

    def __init__(self, evidence: Evidence, method: Method) -> None:
        self.method, self._size = method, evidence.model.wall.shape
        self.raw: Tensor | None = None
        if method.raw is not None:
            raw = method.raw(evidence)
            self.raw = raw if evidence.differentiable else raw.detach()
            self.cut = self.raw.clamp(min=0)
        else:
            assert method.rendered is not None
            with same_draws():
                self.cut = method.rendered(evidence)

    @cached_property
    def shown(self) -> Tensor:
        full = self.cut.to(torch.promote_types(self.cut.dtype, torch.float32))
        return full if self.raw is None else render(full, self._size)


def explain(
    model: WalledModel,
    images: Tensor,
    method: AnyMethod,
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
    method : str, Method or function
        A name in `METHODS`, or a method of one's own.
    target : int, sequence of int, tensor [N] or None
        The class to explain; None for each image's top class.
    normalize : bool
        ``False`` gives the raw maps [N, h, w], cut at 0 but neither resized nor stretched. They
        can be differentiated through, to the images and the model's parameters, unless gradients
        are disabled; the channel weights of ScoreCAM and Opti-CAM count as constants.
    engine : "camwall" or "grad-cam"
        Our engine, or the package of that name for the methods it has.
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
    (maps,) = explain_each(
        model,
        images,
        [method],
        target,
        normalize=normalize,
        engine=engine,
        visible_only=visible_only,
        chunk=chunk,
    ).values()
    return maps


@outside_inference_mode
def explain_each(
    model: WalledModel,
    images: Tensor,
    methods: Sequence[AnyMethod],
    target: Target = None,
    *,
    normalize: bool = True,
    engine: Engine = "camwall",
    visible_only: bool = True,
    chunk: int = 4,
) -> dict[str, Tensor]:
    """Saliency maps of several methods, by name, from one pass; see `explain`."""
    wanted = chosen(methods, engine)
    for method in wanted:
        if not normalize and method.raw is None:
            raise CamwallError(f"{method.name} has no raw maps here; leave normalize out")
    found = {}
    with evaluating(model):
        evidence = Evidence(
            model,
            images,
            target,
            visible_only=visible_only,
            differentiable=not normalize and torch.is_grad_enabled(),
            chunk=chunk,
        )
        for method in wanted:
            maps = Saliency(evidence, method)
            found[method.name] = maps.shown if normalize else maps.cut
    return found
