"""A method's maps on a pass, raw and as they are shown: as grad-cam 1.5.7 shows them.

Negative values are cut at 0 first; (m − min m) / (10⁻⁷ + max(m − min m)), on the raw map and again
once it is resized; bilinear with half-pixel centres, as ``cv2.resize``.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from camwall.as_found import (
    evaluating,
    kept,
    running_code,
    same_bits,
    same_code,
    values_digest,
)
from camwall.errors import CamwallError, in_one_line
from camwall.methods.evidence import Evidence
from camwall.methods.registry import Method
from camwall.models import WalledModel

_EPS = 1e-7


def min_max(maps: Tensor) -> Tensor:
    """Each of the maps [N, h, w] to [0, 1]; a constant map becomes 0."""
    maps = maps - maps.amin(dim=(1, 2), keepdim=True)
    return maps / (_EPS + maps.amax(dim=(1, 2), keepdim=True))


def upsample(maps: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """Maps [N, h, w] to [N, H, W], bilinear, with half-pixel centres or aligned corners."""
    to = list(size)
    return F.interpolate(maps[:, None], to, mode="bilinear", align_corners=align_corners)[:, 0]


def render(raw: Tensor, size: Sequence[int]) -> Tensor:
    """Raw maps [N, h, w] to saliency maps [N, H, W] in [0, 1]."""
    return min_max(upsample(min_max(raw.clamp(min=0)), size))


@contextmanager
def same_draws(seed: int = 0) -> Iterator[None]:
    """The same random numbers for every call, and the caller's own sequence goes on after it."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - other people draw from it
    # Devices are named, since torch remarks on several that are not.
    with torch.random.fork_rng(range(torch.accelerator.device_count())):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        if torch.accelerator.is_available():
            torch.manual_seed(seed)
        else:  # which would keep a traceback of every call, for a device that may come
            torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002


class Saliency:
    """The maps of a method on the images of a pass; a method that draws draws the same each time.

    Under another ``seed`` it draws others.

    Attributes
    ----------
    method : Method
    raw : tensor [N, h, w], or None
        Before negative values are cut; None of a method of another package or one's own.
    cut : tensor [N, h, w], or [N, H, W] where there are no raw maps
        The raw maps without what is negative, neither resized nor stretched; else the function's
        own maps as they are, negative values too.
    shown : tensor [N, H, W]
        As `explain` gives them, at least in single precision.

    Raises
    ------
    CamwallError
        A function's maps are not [N, H, W].
    """

    def __init__(self, evidence: Evidence, method: Method, seed: int = 0) -> None:
        self.method, self._size = method, evidence.model.wall.shape
        self.raw: Tensor | None = None
        if method.raw is not None:
            raw = method.raw(evidence)
            self.raw = raw if evidence.differentiable else raw.detach()
            self.cut = self.raw.clamp(min=0)
        else:
            self.cut = _called(method, evidence, seed)

    @cached_property
    def shown(self) -> Tensor:
        full = self.cut.to(torch.promote_types(self.cut.dtype, torch.float32))
        return full if self.raw is None else render(full, self._size)


def _scored(model: WalledModel, images: Tensor) -> tuple[Tensor, Tensor]:
    """Images and what the model scores them, the same bits each time."""
    with torch.no_grad(), same_bits(model), evaluating(model):
        return images, model.scores(images)


def _same_scores(model: WalledModel, image: Tensor, scores: Tensor) -> bool:
    try:
        return torch.equal(_scored(model, image)[1], scores)
    except Exception:  # of the code that a method left in place of another
        return False


def _called(method: Method, evidence: Evidence, seed: int) -> Tensor:
    """What a function gives for copies of the images, with the model left as it was."""
    model, images = evidence.model, evidence.images.detach()
    assert method.function is not None
    evidence.gradients  # noqa: B018 - found while the weights are in their first version
    before = evidence.once("values", lambda: values_digest(model), shared=True)
    code = evidence.once("code", lambda: running_code(model), shared=True)
    image, scored = evidence.once("scored", lambda: _scored(model, images[:1]), shared=True)
    with (
        same_draws(seed),
        same_bits(model),
        evaluating(model),
        kept(model),
        torch.enable_grad(),
    ):
        found = method.function(model, images.clone(), evidence.target.clone())
    if values_digest(model) != before or not (
        same_code(code) or _same_scores(model, image, scored)
    ):
        raise CamwallError(
            f"{method.name} changes the model's weights or batch statistics, or the code that "
            "layers run, which spoils what comes after it: let it work on a copy, and build or "
            "load this model anew"
        )
    wanted = [len(images), *images.shape[2:]]
    with in_one_line(
        f"{method.name} gave a {type(found).__name__} that is no maps",
        f"a saliency function returns {wanted}, one map at the image's size for each image",
    ):
        # A copy: a method may write all its maps into one array.
        given = isinstance(found, Tensor)
        maps = found.detach().clone() if given else torch.tensor(np.array(found))
        if maps.layout != torch.strided or maps.is_meta or maps.is_complex():
            raise TypeError(f"{maps.dtype} {maps.layout} on {maps.device}")
    if list(maps.shape) != wanted:
        raise CamwallError(
            f"{method.name} gave maps of shape {list(maps.shape)}; a saliency function returns "
            f"{wanted}, one map at the image's size for each image"
        )
    return maps
