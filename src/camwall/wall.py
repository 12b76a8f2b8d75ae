"""The wall: which rows lie on each side of it, computed from the layers and checked on the model.

A wall is horizontal and hides the bottom of the image. Three questions are answered here: which
image rows can reach the visible rows of a map (`reachable_rows`), which rows of an upsampled map
are free of what the interpolation carries across (`Wall.bleed_rows`), and whether a given model
is in truth blind to its hidden rows (`certify`).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from camwall._torch import evaluating, finite, outside_inference_mode
from camwall.errors import BlindnessError, CamwallError

# ---------------------------------------------------------------------------------------------
# Geometry


@dataclass(frozen=True)
class Wall:
    """A horizontal wall, in image rows and in map rows.

    Parameters
    ----------
    image_rows, hidden_rows : int
        Rows of the image, and how many of them, at the bottom, cannot reach any score.
    map_rows, visible_map_rows : int
        Rows of the activation maps, and how many of them, at the top, the head reads.
    """

    image_rows: int
    hidden_rows: int
    map_rows: int
    visible_map_rows: int

    def __post_init__(self) -> None:
        if not 0 < self.hidden_rows < self.image_rows:
            raise CamwallError(
                f"a wall hides between 1 and {self.image_rows - 1} of {self.image_rows} image "
                f"rows, not {self.hidden_rows}"
            )
        if not 0 < self.visible_map_rows < self.map_rows:
            raise CamwallError(
                f"a wall leaves between 1 and {self.map_rows - 1} of {self.map_rows} map rows "
                f"visible, not {self.visible_map_rows}"
            )

    @property
    def row(self) -> int:
        """The first hidden image row."""
        return self.image_rows - self.hidden_rows

    @property
    def flat_level(self) -> float:
        """The leak of a constant map, √(hidden rows / rows)."""
        return sqrt(self.hidden_rows / self.image_rows)

    @property
    def bleed_rows(self) -> int:
        """Hidden rows of an upsampled map that still read a visible map row.

        Bilinear upsampling with half-pixel centres reads, for image row y, the map rows next to
        (y + ½)·h/H − ½ (`torch.nn.functional.interpolate` with ``align_corners=False``, and
        ``cv2.resize``). The rows whose upper neighbour is hidden are free of bleed.
        """
        first_free = ceil((self.visible_map_rows + 0.5) * self.image_rows / self.map_rows - 0.5)
        return max(0, min(first_free, self.image_rows) - self.row)


#: Layers that work on each pixel alone, in evaluation mode: a row reads itself.
ELEMENTWISE = (
    nn.Identity,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Hardswish,
    nn.Sigmoid,
    nn.Tanh,
    nn.BatchNorm2d,
    nn.Dropout,
    nn.Dropout2d,
)

Window = Callable[[int], Iterable[int]]


def leaves(layers: nn.Module | Iterable[nn.Module]) -> Iterator[nn.Module]:
    """The layers of a stack in the order they run; one that is used twice comes twice.

    A subclass of Sequential that runs its layers in a way of its own is one layer.
    """
    if isinstance(layers, nn.Module) and type(layers).forward is not nn.Sequential.forward:
        yield layers
        return
    for layer in layers:  # type: ignore[union-attr]
        yield from leaves(layer)


def _first(value: int | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else value[0]


def _windows(layer: nn.Module, rows: int) -> tuple[int, Window]:
    """Output rows of ``layer`` on ``rows`` input rows, and those of them that each one reads."""
    # Exact types: a subclass may pad or read otherwise (EfficientNet's same-padding convolutions).
    if type(layer) in ELEMENTWISE:
        return rows, lambda r: range(r, r + 1)
    if type(layer) is nn.AdaptiveAvgPool2d or type(layer) is nn.AdaptiveMaxPool2d:
        size = layer.output_size
        out = size if isinstance(size, int) else size[0]  # type: ignore[index]
        if out is None:
            return rows, lambda r: range(r, r + 1)
        return out, lambda r: range(r * rows // out, -((-(r + 1) * rows) // out))
    if type(layer) is nn.Conv2d and layer.padding_mode not in ("zeros", "replicate"):
        raise CamwallError(
            f"receptive fields of {layer} are not known: its padding brings rows from elsewhere; "
            "use padding_mode='zeros'"
        )
    if type(layer) in (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d):
        kernel = _first(layer.kernel_size)  # type: ignore[arg-type]
        stride = _first(layer.stride)  # type: ignore[arg-type]
        dilation = 1 if type(layer) is nn.AvgPool2d else _first(layer.dilation)  # type: ignore[arg-type]
        reach = dilation * (kernel - 1)
        padding = layer.padding
        if padding == "same":
            before, after = reach // 2, reach - reach // 2
        else:
            before = after = 0 if padding == "valid" else _first(padding)  # type: ignore[arg-type]
        steps = (rows + before + after - reach - 1) / stride
        out = (ceil(steps) if getattr(layer, "ceil_mode", False) else int(steps // 1)) + 1
        if getattr(layer, "ceil_mode", False) and (out - 1) * stride >= rows + before:
            out -= 1  # a window that would start in the padding at the end is dropped
        if out < 1:
            raise CamwallError(f"{rows} rows are too few for {layer}")
        inside = range(rows)

        def reads(r: int) -> Iterable[int]:
            window = range(r * stride - before, r * stride - before + reach + 1, dilation)
            if getattr(layer, "padding_mode", "zeros") == "replicate":  # the edge, again
                return [min(max(i, 0), rows - 1) for i in window]
            return [i for i in window if i in inside]

        return out, reads
    raise CamwallError(
        f"receptive fields of a {type(layer).__name__} are not known: give a stack of "
        "convolutions, poolings and element-wise layers, or wall the network with build_wall"
    )


def needed_rows(
    layers: nn.Module | Iterable[nn.Module], image_rows: int, visible_map_rows: int
) -> list[np.ndarray]:
    """The rows each layer's input must have for the visible rows of the last map to be right.

    Parameters
    ----------
    layers : a stack of `torch.nn` layers (`torch.nn.Sequential`, nested or not)
        Convolutions, poolings and element-wise layers, in evaluation mode.
    image_rows, visible_map_rows : int
        Rows of the stack's input, and rows of its output, from the top, that are read.

    Returns
    -------
    list of bool arrays, one for each layer's input and one for the last output
        The first tells which image rows can reach the visible map rows.

    Raises
    ------
    CamwallError
        For a layer whose receptive field is not known, and for rows the map does not have.
    """
    stack, sizes, windows = list(leaves(layers)), [image_rows], []
    for layer in stack:
        out, window = _windows(layer, sizes[-1])
        sizes.append(out)
        windows.append(window)
    if not 0 < visible_map_rows <= sizes[-1]:
        raise CamwallError(
            f"the last map has {sizes[-1]} rows: {visible_map_rows} of them cannot be visible"
        )
    needed = [np.arange(sizes[-1]) < visible_map_rows]
    for rows, window in zip(reversed(sizes[:-1]), reversed(windows), strict=True):
        reads = np.zeros(rows, bool)
        for r in np.flatnonzero(needed[-1]):
            reads[list(window(int(r)))] = True
        needed.append(reads)
    return needed[::-1]


def reachable_rows(
    layers: nn.Module | Iterable[nn.Module], image_rows: int, visible_map_rows: int
) -> np.ndarray:
    """Which image rows can reach the first ``visible_map_rows`` rows of the stack's last map.

    Exact, with gaps where a stride jumps over rows: row r of a layer with kernel k, stride s,
    padding p and dilation d reads the rows r·s − p + t·d, 0 ≤ t < k, of its input.

    Returns
    -------
    bool array of shape [image_rows]

    Examples
    --------
    >>> reachable_rows(nn.Sequential(nn.Conv2d(1, 1, 3), nn.MaxPool2d(2)), 8, 1).sum()
    np.int64(4)
    """
    return needed_rows(layers, image_rows, visible_map_rows)[0]


# ---------------------------------------------------------------------------------------------
# The certificate


class Walled(Protocol):
    """What `certify` asks of a model."""

    wall: Wall

    def __call__(self, images: Tensor) -> Tensor: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def probe(self, count: int, generator: torch.Generator) -> Tensor: ...
    def reachable_rows(self) -> np.ndarray | None: ...


@dataclass(frozen=True)
class Certificate:
    """What was checked, and found; printing it gives one line."""

    wall: Wall
    classes: int
    every_class: bool
    probes: int
    repaints: int
    last_row_seen: int
    geometry: bool

    def __str__(self) -> str:
        wall = self.wall
        zero = (
            f"the gradient of each of the {self.classes} scores is exactly 0 at each pixel there"
            if self.every_class
            else f"each of the {self.classes} scores has the derivative 0 along random directions "
            "there, random combinations of them at each pixel"
        )
        seen = f"row {self.last_row_seen} is the last that reaches a score"
        if self.last_row_seen < wall.row - 1:
            seen += f", rows {self.last_row_seen + 1}–{wall.row - 1} were not seen to"
        layers = "the layers' geometry agrees" if self.geometry else "no geometry to compare with"
        return (
            f"blind to rows {wall.row}–{wall.image_rows - 1} ({wall.hidden_rows} of "
            f"{wall.image_rows}): on {self.probes} probe images {zero}; all scores the same bit "
            f"for bit under {self.repaints} repaints; {layers}; {seen}"
        )


def _spans(rows: np.ndarray) -> str:
    """``[3, 4, 5, 9]`` as ``3–5, 9``."""
    groups = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    return ", ".join(str(g[0]) if len(g) == 1 else f"{g[0]}–{g[-1]}" for g in groups)


def _refuse(wall: Wall, rows: np.ndarray, how: str) -> None:
    if len(rows):
        raise BlindnessError(
            f"the wall has a hole: rows {_spans(rows)} are said to be hidden (from row {wall.row} "
            f"on) but {how}; mask the head's weights below the wall, or state the wall where it is"
        )


def _gradient_rows(
    model: Walled, images: Tensor, every_class: bool, gen: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Image rows [H] where the gradient of some score is not 0, and classes the hidden ones move.

    The classes are those whose score has a derivative other than 0 along a random direction of the
    hidden pixels; None where ``every_class`` asked each class by itself, also because the network
    has a layer that cannot be differentiated twice.
    """
    images = images.detach().clone().requires_grad_()
    direction = torch.randn(images.shape, generator=gen).to(images)
    direction[:, :, : model.wall.row] = 0
    moved = None
    with torch.enable_grad():
        scores = finite(model(images))
        classes = scores.shape[1]
        if not every_class:
            # v ↦ Jᵀv is linear, so that its derivative along the direction d, J d, is found
            # anywhere: one pass gives the derivative of every score by itself. A layer that cannot
            # be differentiated twice raises, or cuts the way back.
            anywhere = torch.zeros_like(scores, requires_grad=True)
            try:
                (back,) = torch.autograd.grad(scores, images, anywhere, create_graph=True)
                (along,) = torch.autograd.grad(
                    (back * direction).sum(), anywhere, retain_graph=True
                )
                moved = (along != 0).any(dim=0).nonzero()[:, 0].cpu()
            except RuntimeError:
                every_class = True
        # A random combination of the classes has gradient 0 only where every class has: the
        # combinations for which anything else cancels form a set of probability 0.
        weights = torch.eye(classes) if every_class else torch.randn(2, classes, generator=gen)
        seen = torch.zeros(images.shape[2], dtype=torch.bool, device=images.device)
        for weight in weights.to(scores):
            (grad,) = torch.autograd.grad(
                scores, images, weight.expand_as(scores), retain_graph=True
            )
            seen |= (grad != 0).any(dim=3).any(dim=1).any(dim=0)  # NaN != 0 counts as seen
    return seen.cpu(), moved


def _repaints(images: Tensor, row: int, count: int, gen: torch.Generator) -> Iterator[Tensor]:
    """``images`` with the rows from ``row`` on repainted: extremes, other images, then noise."""
    hidden = images[:, :, row:]
    low, high = float(images.min()), float(images.max())
    fixed = [
        torch.full_like(hidden, low),
        torch.full_like(hidden, high),
        torch.full_like(hidden, 1e3 * max(abs(low), abs(high), 1.0)),
        torch.full_like(hidden, -1e3 * max(abs(low), abs(high), 1.0)),
        hidden.roll(1, dims=0) if len(images) > 1 else hidden.flip(3),
        images[:, :, : hidden.shape[2]] if row >= hidden.shape[2] else hidden.flip(2),
    ]
    for index in range(count):
        repainted = images.clone()
        if index < len(fixed):
            repainted[:, :, row:] = fixed[index]
        else:
            noise = torch.randn(hidden.shape, generator=gen).to(hidden)
            repainted[:, :, row:] = (high - low) * noise
        yield repainted


@outside_inference_mode
def certify(
    model: Walled,
    images: Tensor | None = None,
    *,
    every_class: bool = False,
    probes: int = 3,
    repaints: int = 8,
    seed: int = 0,
) -> Certificate:
    """Prove on a model that nothing behind its wall can change a score.

    Three things are asked.

    1. The gradient of every class score with respect to the image is exactly 0 on the hidden rows:
       for each score by itself along random directions of the hidden pixels, and at each hidden
       pixel by itself for random combinations of the scores. What is not 0 escapes either question
       with probability 0.
    2. The scores stay the same bit for bit when the hidden pixels are repainted: with the extremes
       of the images and a thousand times these, with other images, with noise.
    3. The receptive fields of the layers, and for a masked model its weights behind the wall, say
       the same where they are known.

    Parameters
    ----------
    model : WalledModel
        Left as found: modes, gradients, parameters.
    images : tensor [N, C, H, W], optional
        Network inputs to probe the model on, besides random ones (normalised, as the model takes
        them).
    every_class : bool
        No random directions: one backward pass for each class. Also done for a network with a
        layer that cannot be differentiated twice.
    probes, repaints, seed : int
        Random images, repaints of each, and the seed of both.

    Returns
    -------
    Certificate
        Prints as one line.

    Raises
    ------
    BlindnessError
        The model's wall has a hole; the message names the rows.
    CamwallError
        Scores that are not finite; ``probes`` or ``repaints`` below 1.
    """
    if not hasattr(model, "wall"):
        raise CamwallError(
            f"a {type(model).__name__} has no wall to certify: camwall.build_wall makes one"
        )
    if probes < 1 or repaints < 1:
        raise CamwallError(f"certify needs probes ≥ 1 and repaints ≥ 1, not {probes}, {repaints}")
    wall, gen = model.wall, torch.Generator().manual_seed(seed)
    parameter = next(model.parameters())
    probe = model.probe(probes, gen).to(parameter)
    if images is not None:
        if images.shape[1:] != probe.shape[1:]:
            raise CamwallError(
                f"this model takes images of shape [N, {', '.join(map(str, probe.shape[1:]))}], "
                f"not {list(images.shape)}"
            )
        probe = torch.cat([probe, images.to(parameter)]).clone()  # no inference tensor

    reachable = model.reachable_rows()
    if reachable is not None:
        _refuse(
            wall,
            np.flatnonzero(reachable[wall.row :]) + wall.row,
            "by the layers' receptive fields they reach the head",
        )
    with evaluating(model):  # type: ignore[arg-type]
        rows, moved = _gradient_rows(model, probe, every_class, gen)
        seen = rows.numpy()
        _refuse(
            wall,
            np.flatnonzero(seen[wall.row :]) + wall.row,
            "the gradient of a score is not 0 there",
        )
        if moved is not None and len(moved):
            raise BlindnessError(
                f"the wall has a hole: the scores of classes {_spans(moved.numpy())} change with "
                f"the rows from {wall.row} on; mask the head's weights below the wall"
            )
        if reachable is not None and (seen & ~reachable).any():
            raise BlindnessError(
                f"rows {_spans(np.flatnonzero(seen & ~reachable))} have a gradient but no path by "
                "the layers' receptive fields: the geometry stated for this model is wrong"
            )
        with torch.no_grad():
            scores = finite(model(probe))
            for repainted in _repaints(probe, wall.row, repaints, gen):
                if not torch.equal(model(repainted), scores):
                    changed = [
                        row
                        for row in range(wall.row, wall.image_rows)
                        if not torch.equal(model(_one_row(probe, repainted, row)), scores)
                    ]
                    _refuse(
                        wall,
                        np.array(changed or range(wall.row, wall.image_rows)),
                        "repainting them changes a score",
                    )
    if not seen.any():
        raise CamwallError("no image row has a gradient: the model does not look at the image")
    return Certificate(
        wall=wall,
        classes=scores.shape[1],
        every_class=moved is None,
        probes=len(probe),
        repaints=repaints,
        last_row_seen=int(np.flatnonzero(seen)[-1]),
        geometry=reachable is not None,
    )


def _one_row(images: Tensor, repainted: Tensor, row: int) -> Tensor:
    mixed = images.clone()
    mixed[:, :, row] = repainted[:, :, row]
    return mixed
