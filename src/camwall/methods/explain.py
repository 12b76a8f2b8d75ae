"""From a model, images and a method's name to saliency maps; and all methods, by name."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.resources import files
from typing import Any, get_args

import torch
from torch import Tensor

from camwall.as_found import evaluating, outside_inference_mode
from camwall.errors import CamwallError
from camwall.methods.adapters import through
from camwall.methods.attention import ATTENTION
from camwall.methods.cams import CAMS
from camwall.methods.evidence import Evidence, Target
from camwall.methods.perturbation import PERTURBATIONS, RATE, STEPS, opticam_map
from camwall.methods.registry import AnyMethod, Engine, Mechanism, Method, named
from camwall.methods.rise import rise
from camwall.methods.saliency import Saliency
from camwall.models import WalledModel, require_walled


def _registered() -> Iterator[Method]:
    """The methods of ``register.csv``: ours by their rules or functions, the others by packages."""
    rules, functions = CAMS | PERTURBATIONS, ATTENTION | {"RISE": rise}
    table = (files("camwall.methods") / "register.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(table.splitlines()):
        known: dict[str, Any] = {field: text for field, text in row.items() if text}
        known["mechanism"] = Mechanism[row["mechanism"]]
        known["packages"] = dict(each.split(":") for each in row["packages"].split())
        method = Method(**known, raw=rules.get(row["name"]), function=functions.get(row["name"]))
        yield method if method.raw or method.function else _by(method, next(iter(method.packages)))


def _by(method: Method, engine: str) -> Method:
    """A method as an engine has it; CamwallError if it has not."""
    if engine == "camwall" or (not method.raw and engine not in method.packages):
        return method
    if engine not in method.packages:
        raise CamwallError(f"the package {engine} has no {method.name}; use engine='camwall'")
    return replace(method, raw=None, function=through(engine, method.packages[engine]))


#: Every method by its name; one of your own needs no entry.
METHODS: dict[str, Method] = {method.name: method for method in _registered()}
#: Those that the chapters on the paper follow: our engine's, and three CAMs of grad-cam.
STUDIED = tuple(
    name
    for name, method in METHODS.items()
    if method.raw is not None or name in ("ShapleyCAM", "FEM", "KPCA-CAM")
)


def opticam(steps: int = STEPS, rate: float = RATE) -> Method:
    """Opti-CAM with so many steps of Adam at this learning rate, for `explain` or `check`.

    ``METHODS["Opti-CAM"]`` has its authors' settings, which are the defaults.
    """
    if steps < 1 or not rate > 0:
        raise CamwallError(f"Opti-CAM needs steps ≥ 1 and rate > 0, not {steps}, {rate}")
    rule, authors = partial(opticam_map, steps=steps, rate=rate), METHODS["Opti-CAM"]
    name = f"Opti-CAM ({steps} steps, rate {rate:g})"
    return authors.variant(name, authors.weights, rule, departs=authors.departs)


def chosen(methods: Sequence[AnyMethod] | AnyMethod, engine: Engine = "camwall") -> list[Method]:
    """The methods that names, methods or functions stand for, as an engine has them, each once.

    CamwallError for an unknown name or engine, with those that are known; for a method that the
    package has not; for no method, or two of one name.
    """
    if not isinstance(engine, str) or engine not in get_args(Engine):
        raise CamwallError(f"unknown engine {engine!r}; known: {', '.join(get_args(Engine))}")
    own = partial(Method, weights="a function", mechanism=Mechanism.OWN, reference="")
    found = named(methods, METHODS, Method, lambda name, each: own(name, function=each))
    return [_by(method, engine) for method in found]


def explain(
    model: WalledModel,
    images: Tensor,
    method: AnyMethod,
    target: Target = None,
    *,
    normalize: bool = True,
    engine: Engine = "camwall",
    visible_only: bool = True,
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
    engine : "camwall", "grad-cam", "captum", "torch-cam" or "zennit"
        Our engine, or the package of that name, for the methods that it has.
    visible_only : bool
        Let our engine leave out what the model cannot see.

    Returns
    -------
    tensor [N, H, W] in [0, 1], or [N, h, w] for ``normalize=False``

    Raises
    ------
    CamwallError
        An unknown method or engine, images or targets that do not fit, scores that are not finite.

    Examples
    --------
    >>> from camwall.testing import some_images, walled_model
    >>> model = walled_model()
    >>> images = some_images(model)
    >>> explain(model, images, "HiResCAM").shape
    torch.Size([4, 32, 32])
    >>> explain(model, images, lambda model, images, target: images.mean(dim=1)).shape
    torch.Size([4, 32, 32])
    """
    ways: dict[str, Any] = {"normalize": normalize, "engine": engine, "visible_only": visible_only}
    (maps,) = explain_each(model, images, [method], target, **ways).values()
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
) -> dict[str, Tensor]:
    """Saliency maps of several methods, by name, from one pass; see `explain`."""
    require_walled(model)
    wanted = chosen(methods, engine)
    for method in wanted:
        if not normalize and method.raw is None:
            raise CamwallError(f"{method.name} has no raw maps here; leave normalize out")
    differentiable = not normalize and torch.is_grad_enabled()
    with evaluating(model):
        evidence = Evidence(
            model, images, target, visible_only=visible_only, differentiable=differentiable
        )
        found = {method.name: Saliency(evidence, method) for method in wanted}
        return {name: maps.shown if normalize else maps.cut for name, maps in found.items()}
