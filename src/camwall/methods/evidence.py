"""What all methods work from: one pass, its maps and scores, and one gradient at the maps."""

import copy
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from camwall.as_found import finite, full_precision
from camwall.errors import CamwallError
from camwall.models import WalledModel, require_walled
from camwall.models.layer import each_tensor
from camwall.models.rest import Rest

Target = int | Sequence[int] | Tensor | None
T = TypeVar("T")

#: Perturbed copies of an image that run through the network at a time.
CHUNK = 4


def as_target(target: Target, scores: Tensor) -> Tensor:
    """The class to explain for each image, [N]: the top class where none is given.

    CamwallError for a target outside the classes, or not one for each image.
    """
    count, classes = scores.shape
    if target is None:
        return scores.argmax(dim=1)
    try:
        indices = torch.as_tensor(target, device=scores.device)
    except (TypeError, ValueError, RuntimeError):
        indices = torch.empty(0)
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise CamwallError(f"a target is a class index, not {target!r}")
    indices = indices.long().clone()  # a tensor of inference mode has no gradient
    indices = indices.expand(count) if indices.ndim == 0 else indices
    if indices.shape != (count,):
        given = len(indices) if indices.ndim == 1 else list(indices.shape)
        raise CamwallError(f"{count} images need {count} targets, not {given}")
    for index in indices.tolist():
        if not 0 <= index < classes:
            raise CamwallError(
                f"target {index} is not one of the model's classes 0 to {classes - 1}"
            )
    return indices


def check_images(model: WalledModel, images: Tensor) -> None:
    """Refuse no images, or images of another shape or type than the model's."""
    require_walled(model)
    model.check_images(images)
    if not len(images):
        raise CamwallError("no images to explain: the batch is empty")
    if not torch.isfinite(images).all():
        raise CamwallError("the images hold NaN or infinite values: clean them first")


def _rounding(dtype: torch.dtype) -> float:
    """How far apart, of the largest, values are that another way of the same sums gives."""
    return 1e-3 if dtype in (torch.float32, torch.float64) else 0.25


class Evidence:
    """One pass of a walled model over images, and what the methods take from it.

    Parameters
    ----------
    model : WalledModel
        In evaluation mode (`explain` sees to that).
    images : tensor [N, C, H, W]
    target : int, sequence of int, tensor [N] or None
        The class to explain; None for each image's top class.
    visible_only : bool
        Run perturbed images and ablated maps through what the scores depend on alone, by a copy
        of the trunk that lies channels last: equal up to rounding. A trunk whose copy gives other
        maps runs as it is, with a warning.
    differentiable : bool
        Keep the graph, so that raw maps have derivatives by the images and the parameters.

    Attributes
    ----------
    maps : tensor [N, V, h, w]
        B, with the hidden cells.
    scores : tensor [N, classes]
    target : tensor [N]
    repaints : iterable of Evidence
        What `repainted` gave, kept for the metrics.
    annotations : name → one value for each image
        What a set of images says of them, for the metrics.
    """

    repaints: "Iterable[Evidence]" = ()
    annotations: Mapping[str, Sequence[Any]] = MappingProxyType({})

    def __init__(
        self,
        model: WalledModel,
        images: Tensor,
        target: Target = None,
        *,
        visible_only: bool = True,
        differentiable: bool = False,
    ) -> None:
        check_images(model, images)
        images = images.clone() if images.is_inference() else images
        self.model, self.images = model, images
        self.visible_only, self.differentiable = visible_only, differentiable
        self._own: dict[str, Any] = {}
        self._shared: dict[str, Any] = {}
        with torch.set_grad_enabled(differentiable):
            self.scores = finite(model.passed(images, self._keep))
        self.target = as_target(target, self.scores.detach())

    def _keep(self, maps: Tensor, output: Any) -> Tensor:
        """Take the maps as they come by; the rest of the pass goes on with gradients."""
        self.maps = maps
        self._output = each_tensor(output, Tensor.detach)
        # Methods differentiate with respect to the maps: a leaf of their own, or, to go on from
        # there to the images, a view that keeps the graph.
        self._at = maps if self.differentiable else maps.detach()
        if not self._at.requires_grad:
            self._at = self._at.clone().requires_grad_()
        torch.set_grad_enabled(True)  # whoever began the pass puts it back
        return self._at.clone()  # a head may start with an operation in place

    @property
    def chain(self) -> nn.Sequential | None:
        """The layers from what the model reads of the maps to the scores, where known."""
        return self.rest.chain if self.visible_only else None

    @property
    def rest(self) -> Rest:
        """From what the model reads of the maps to the scores, tried on these images."""
        return self.once("rest", self._tried_rest, shared=True)

    def _tried_rest(self) -> Rest:
        rest, scores = self.model.rest, self.scores.detach()
        with torch.no_grad():
            seen = self.model.seen(self.images)
            apart = rest(self.model.read(self.maps), self._output, seen) - scores
        if (
            apart.abs().max() <= _rounding(scores.dtype) * scores.abs().max()
            or rest.network is self.model
        ):
            return rest
        return Rest(self.model.trunk, self.model.layer)  # it branches on what these images show

    def scores_at(self, maps: Tensor, index: int) -> Tensor:
        """Scores [n, classes] of image ``index`` with other maps [n, V, h, w] than its own."""
        size = len(self.images)

        def of_image(values: Tensor) -> Tensor:
            if values.shape[:1] != (size,):
                return values
            return values[index : index + 1].expand(len(maps), *values.shape[1:])

        if not self.visible_only:
            return self.model.passed(of_image(self.images), lambda *_: maps)
        output = each_tensor(self._output, of_image)
        return self.rest(self.model.read(maps), output, self.model.seen(of_image(self.images)))

    def scores_of(self, batches: Iterable[Tensor]) -> Tensor:
        """Scores [M, classes] of perturbed images, those of all batches.

        Equal to the model's own up to rounding. With ``visible_only`` at the cost of the visible
        part of images of at least `rows_read` rows; gradients then go to the images alone.
        """
        trunk = self._trunk
        if trunk is None:
            return torch.cat([self.model(images) for images in batches])
        lasting = (images.contiguous(memory_format=torch.channels_last) for images in batches)
        if self.chain is None:
            return torch.cat([self.model.scores(images, trunk) for images in lasting])
        # The rest's weights may be many: they are read once for all batches.
        maps = [self.model.visible_maps(images, trunk) for images in lasting]
        return self.chain(torch.cat(maps))

    def once(self, name: str, compute: Callable[[], T], *, shared: bool = False) -> T:
        """A result for several methods; ``shared`` by all repaints, if of what the rest reads."""
        known = self._shared if shared else self._own
        if name not in known:
            known[name] = compute()
        return known[name]

    def repainted(self, *repaints: Tensor) -> "list[Evidence]":
        """The pass of each batch of images that differ from this one's in hidden pixels only.

        M ⊙ B is the same tensor, so that scores, target and gradients, its functions, are taken
        over as they are; the maps behind the wall are computed, by one run of the trunk for all.
        """
        if self.differentiable:
            raise CamwallError("a differentiable pass has no repaints")
        if not repaints:
            return []
        self.gradients  # noqa: B018 - found once, for all repaints
        with torch.no_grad():
            visible = self.maps.repeat(len(repaints), 1, 1, 1)
            maps = self.model.repainted(visible, torch.cat(repaints)).chunk(len(repaints))
        found = []
        for images, own in zip(repaints, maps, strict=True):
            other = copy.copy(self)
            other.images, other.maps, other._own = images, own, {}
            found.append(other)
        return found

    @property
    def _trunk(self) -> nn.Module | None:
        """A copy of the trunk, tried on the first image; None where it is not to be used."""
        return self.once("trunk", self._tried_copy, shared=True) if self.visible_only else None

    def _tried_copy(self) -> nn.Module | None:
        full = next(self.model.parameters()).dtype
        try:
            trunk = copy.deepcopy(self.model.trunk).requires_grad_(False)
            trunk = trunk.to(memory_format=torch.channels_last)
            # In full precision: less would hide a mistake, or make one of rounding.
            with (
                torch.no_grad(),
                torch.autocast(self.images.device.type, enabled=False),
                full_precision(),
            ):
                # Twice, since in channels_last one image alone lies in memory as it always does.
                twice = self.images[:1].to(full).repeat(2, 1, 1, 1)
                own = self.model.read(self.model.features(twice))
                twice = twice.contiguous(memory_format=torch.channels_last)
                apart = (self.model.visible_maps(twice, trunk) - own).abs().max()
            if apart <= _rounding(full) * own.abs().max():
                return trunk
        except Exception:  # a trunk is anybody's code
            pass
        warnings.warn(
            "the trunk runs as it is, slowly: on what the scores see alone, or in channels_last, "
            "it gives other maps or fails",
            stacklevel=1,
        )
        return None

    @property
    def rows_read(self) -> int:
        """Rows of perturbed images that `scores_of` reads; what lies below need not be made."""
        return self.images.shape[2] if self._trunk is None else self.model.rows_read

    def target_scores(self, scores: Tensor, index: int | None = None) -> Tensor:
        """Of scores [M, classes] the target's: of image ``index``, or of each its own."""
        if index is not None:
            return scores[:, int(self.target[index])]
        return scores.gather(1, self.target[:, None])[:, 0]

    @cached_property
    def gradients(self) -> Tensor:
        """∂(target's score)/∂B, [N, V, h, w]; exactly 0 on cells the head does not read."""
        with torch.enable_grad():  # the caller may have turned gradients off
            (gradients,) = torch.autograd.grad(
                self.target_scores(self.scores).sum(),
                self._at,
                create_graph=self.differentiable,
                retain_graph=True,
                materialize_grads=True,
            )
        return gradients
