"""One layer of any network: its maps, a pass that stops there, one that goes on from others."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import gcd
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils._pytree import tree_leaves, tree_map_only

from camwall.errors import CamwallError

#: Tokens that may stand before those of the patches: of the class, of a distillation, registers.
PREFIXES = 8

Change = Callable[[Any], Any]


class _Stop(BaseException):
    """Ends a pass with a layer's output; no network's own `except Exception` holds it up."""


def tensors(output: Any) -> Iterator[Tensor]:
    """The tensors of a layer's output, in order: of a tensor, a tuple, a mapping, a ModelOutput."""
    return (value for value in tree_leaves(output) if isinstance(value, Tensor))


def each_tensor(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A layer's output with each of its tensors changed."""
    return tree_map_only(Tensor, change, output)


def _replaced(output: Any, old: Tensor, new: Tensor) -> Any:
    """``output`` with ``new`` wherever it holds ``old``."""
    return each_tensor(output, lambda value: new if value is old else value)


def token_grid(tokens: int, size: Sequence[int]) -> tuple[int, int, int] | None:
    """(prefix, h, w) with h·w patch tokens in the image's proportions after the fewest others."""
    divisor = gcd(*size)
    rows, columns = size[0] // divisor, size[1] // divisor
    for prefix in range(PREFIXES + 1):
        scale = round(max(tokens - prefix, 0) ** 0.5 / (rows * columns) ** 0.5)
        if scale and scale * scale * rows * columns == tokens - prefix > 1:
            return prefix, scale * rows, scale * columns
    return None


@dataclass(frozen=True)
class Layer:
    """Where in a network its maps are read, and how they lie in what the layer gives."""

    #: As in ``network.named_modules()``.
    name: str
    #: Which of the module's calls in one pass, from 0.
    call: int = 0
    kind: Literal["NCHW", "NHWC", "tokens"] = "NCHW"
    #: Tokens that stand before those of the patches.
    prefix: int = 0

    def __str__(self) -> str:
        call = f", call {self.call + 1}" if self.call else ""
        tokens = f"tokens after {self.prefix}" if self.prefix else self.kind
        return f"{self.name or 'the network'} ({tokens}{call})"

    @staticmethod
    def read(name: str, call: int, output: Any, images: Tensor) -> "Layer | None":
        """The layer by its output on images [N, C, H, W], None where that is no map."""
        first, size = next(tensors(output), None), images.shape[2:]
        if first is None or first.shape[:1] != images.shape[:1] or not first.is_floating_point():
            return None
        shape = first.shape[1:]

        def fits(h: int, w: int) -> bool:
            # The cells of a map have the proportions of the image, up to rounding.
            even = h == w if size[0] == size[1] else abs(h * size[1] - w * size[0]) <= max(size)
            return even and h * w > 1

        if len(shape) == 3 and fits(shape[1], shape[2]):
            return Layer(name, call, "NCHW")
        if len(shape) == 3 and fits(shape[0], shape[1]):
            return Layer(name, call, "NHWC")
        if len(shape) == 2 and (grid := token_grid(shape[0], size)):
            return Layer(name, call, "tokens", grid[0])
        return None

    def maps(self, output: Any, size: Sequence[int]) -> Tensor:
        """Maps [N, V, h, w] of images of ``size`` (H, W), a view of what the layer gave."""
        values = next(tensors(output))
        if self.kind == "tokens":
            found = token_grid(values.shape[1] - self.prefix, size)
            assert found is not None  # as `read` saw to
            values = values[:, self.prefix :].unflatten(1, found[1:])
        return values if self.kind == "NCHW" else values.permute(0, 3, 1, 2)

    def put(self, output: Any, maps: Tensor) -> Any:
        """The layer's output with other maps in it, and what else it holds as it is."""
        old = next(tensors(output))
        new = maps if self.kind == "NCHW" else maps.permute(0, 2, 3, 1)
        if self.kind == "tokens":
            new = torch.cat([old[:, : self.prefix], new.flatten(1, 2)], dim=1)
        return _replaced(output, old, new)

    def run(self, network: nn.Module, images: Tensor, change: Change) -> Tensor:
        """The network's scores [N, classes] where the layer gives ``change(output)``."""
        calls = 0

        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            nonlocal calls
            calls += 1
            return change(output) if calls == self.call + 1 else None

        handle = network.get_submodule(self.name).register_forward_hook(hook)
        try:
            scores = scores_of(network(images))
        finally:
            handle.remove()
        if calls <= self.call:
            raise CamwallError(
                f"a pass of the {type(network).__name__} does not reach its layer {self.name}: "
                "name one that every image passes through"
            )
        return scores

    def output(self, network: nn.Module, images: Tensor) -> Any:
        """What the layer gives, from a pass that ends there."""

        def stop(output: Any) -> Any:
            raise _Stop(output)

        try:
            return self.run(network, images, stop)
        except _Stop as stopped:
            return stopped.args[0]

    def maps_of(self, network: nn.Module, images: Tensor) -> Tensor:
        """Maps [N, V, h, w] of images [N, C, H, W], from a pass that ends there."""
        return self.maps(self.output(network, images), images.shape[2:])


def scores_of(output: Any) -> Tensor:
    """The scores of what a network gives: its one tensor [N, classes], or its ``logits``."""
    if isinstance(output, dict) and "logits" in output:
        output = output["logits"]
    if not isinstance(output, Tensor) or output.ndim != 2:
        given = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise CamwallError(
            f"the network gives {given}, not scores [N, classes]: wrap it in a module that does"
        )
    return output


def find_layer(
    network: nn.Module,
    images: Tensor,
    wanted: str | nn.Module | None = None,
    accept: Callable[[Layer], bool] = lambda layer: True,
) -> Layer:
    """The layer of that name, the layer that is that module, or by default the last fit one.

    Fit is a layer whose output is a map, which all of the image passes through on its way to the
    scores, and whose cells reach them: its output of another image gives that image's scores, and
    the scores have a gradient at more than one of its cells. ``accept`` says what else it has to
    be. The network is in evaluation mode, the images two different inputs [2, C, H, W].

    Raises
    ------
    CamwallError
        No such layer; a layer that is not reached, or gives no map; a network without a fit one.
    """
    kind, name = type(network).__name__, _name(network, wanted)
    candidates, scores = _candidates(network, images, name)
    if torch.equal(scores[0], scores[1]):
        raise CamwallError(
            f"the {kind} gives the same scores for two different images: load its weights first"
        )
    for layer, cells in reversed(candidates):
        fit = cells.any() if name is not None else (cells > 1).all()
        carries = partial(_carries_all, network, layer, images, scores)
        if fit and (name is not None or (carries() and accept(layer))):
            return layer
    if name is None:
        raise CamwallError(
            f"no layer of the {kind} has a spatial extent, reaches the scores, and lets nothing "
            f"pass it by: name one (layer=…), of {len(candidates)} that give maps"
        )
    Layer(name).run(network, images, lambda output: output)  # says so if it is not reached
    raise CamwallError(
        f"the layer {name} of the {kind} gives no maps [N, V, h, w], [N, h, w, V] or "
        "[N, tokens, V] that its scores read: name another, or none for the last that does"
    )


def _name(network: nn.Module, wanted: str | nn.Module | None) -> str | None:
    """The first name of what is wanted."""
    kind = type(network).__name__
    names = dict(network.named_modules(remove_duplicate=False))
    module = names.get(wanted) if isinstance(wanted, str) else wanted
    for name, each in names.items():
        if each is module:
            return name
    if wanted is None:
        return None
    if isinstance(wanted, nn.Module):
        raise CamwallError(f"the layer {type(wanted).__name__} is no part of the {kind}")
    near = difflib.get_close_matches(str(wanted), names, n=3, cutoff=0.0)
    raise CamwallError(f"the {kind} has no layer {wanted!r}; near it are {', '.join(near)}")


def _candidates(
    network: nn.Module, images: Tensor, wanted: str | None
) -> tuple[list[tuple[Layer, Tensor]], Tensor]:
    """Of one pass the scores, and each (or the wanted) module whose last output is a map.

    In order, with how many of its cells [N] a score has a gradient at. The outputs themselves are
    not kept, which of all modules together are many times what a pass needs.
    """
    found: dict[str, tuple[Layer, GradientEdge]] = {}
    calls: dict[str, int] = {}
    handles = []
    for name, module in network.named_modules():
        if wanted not in (None, name):
            continue

        def hook(module: nn.Module, inputs: Any, output: Any, name: str = name) -> Any:
            calls[name] = calls.get(name, -1) + 1
            layer = Layer.read(name, calls[name], output, images)
            if layer is None or not next(tensors(output)).requires_grad:
                return None
            found.pop(name, None)  # last in order
            found[name] = layer, get_gradient_edge(next(tensors(output)))
            return each_tensor(output, torch.Tensor.clone)  # what comes next may work in place

        handles.append(module.register_forward_hook(hook))
    try:
        with torch.enable_grad():
            # Images that want a gradient: so does each output, also where weights are frozen.
            scores = scores_of(network(images.clone().requires_grad_().clone()))
    finally:
        for handle in handles:
            handle.remove()
    if not found or not scores.requires_grad:
        return [], scores
    gen = torch.Generator().manual_seed(0)
    weights = torch.randn(scores.shape, generator=gen, device="cpu").to(scores)
    edges = [edge for _, edge in found.values()]
    grads = torch.autograd.grad(scores, edges, weights, allow_unused=True)
    candidates = []
    for (layer, _), grad in zip(found.values(), grads, strict=True):
        cells = torch.zeros(len(images), dtype=torch.long, device=scores.device)
        if grad is not None:
            cells = (layer.maps(grad, images.shape[2:]) != 0).any(dim=1).flatten(1).sum(dim=1)
        candidates.append((layer, cells))
    return candidates, scores


def _carries_all(network: nn.Module, layer: Layer, images: Tensor, scores: Tensor) -> bool:
    """Whether the output of the other image gives its scores: nothing passes the layer by."""
    with torch.no_grad():
        output = layer.output(network, images)
        values = next(tensors(output))
        swapped = _replaced(output, values, values.flip(0))
        return same(layer.run(network, images, lambda _: swapped), scores.flip(0), scores)


def same(scores: Tensor, wanted: Tensor, other: Tensor) -> bool:
    """Whether scores are the wanted ones up to rounding, rather than those of another input."""
    apart, far = ((each - wanted).detach().abs().max() for each in (scores, other))
    rounding = 8 * torch.finfo(wanted.dtype).eps * wanted.detach().abs().max()
    return bool(apart <= 1e-4 * far + rounding)
