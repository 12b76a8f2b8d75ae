"""The certificate: what is known of a wall for every input, and what was probed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from camwall.as_found import evaluating, finite, outside_inference_mode
from camwall.errors import BlindnessError, CamwallError
from camwall.wall.shape import Wall

#: Batch sizes that are tried: a network may treat one image, or several, in a way of their own.
BATCHES = (1, 2, 5)
#: Those that are tried with gradients too; a larger one would hold too much for a small machine.
WITH_GRADIENTS = (1, 2)


class Walled(Protocol):
    """What `certify` asks of a model."""

    wall: Wall

    def __call__(self, images: Tensor) -> Tensor: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def probe(self, count: int, generator: torch.Generator) -> Tensor: ...
    def reachable(self) -> Tensor | None: ...
    @property
    def ground(self) -> str | None: ...


@dataclass(frozen=True)
class Certificate:
    """What was found; printing it gives one line.

    Attributes
    ----------
    wall : Wall
    proved : str or None
        What holds for every input, and why; None where all there is was probed.
    classes : int
    every_class : bool
        Whether each class had a backward pass of its own.
    probes, repaints : int
        Images, and ways in which their hidden pixels were painted anew.
    visible_seen : float
        The share of visible pixels at which a score had a gradient on the probes.
    last_row_seen : int or None
        The last row at which one had, for a wall that is a row.
    """

    wall: Wall
    proved: str | None
    classes: int
    every_class: bool
    probes: int
    repaints: int
    visible_seen: float
    last_row_seen: int | None

    def __str__(self) -> str:
        wall = self.wall
        proved = "nothing is proved" if self.proved is None else f"proved {self.proved}"
        zero = (
            f"the gradient of each of the {self.classes} scores is exactly 0 at each hidden pixel"
            if self.every_class
            else f"each of the {self.classes} scores has the derivative 0 along random hidden "
            "directions, random combinations of them at each hidden pixel"
        )
        seen = f"{self.visible_seen:.1%} of the visible pixels were seen to reach a score"
        if self.last_row_seen is not None:
            seen += f", row {self.last_row_seen} the last"
        return (
            f"blind to {wall} ({wall.share:.1%} of the pixels): {proved}; probed on {self.probes} "
            f"images, in batches of {', '.join(map(str, BATCHES))} without gradients and of "
            f"{', '.join(map(str, WITH_GRADIENTS))} with: "
            f"{zero}, all scores the same bit for bit under {self.repaints} repaints; {seen}"
        )


def _spans(numbers: Tensor) -> str:
    """``[3, 4, 5, 9]`` as ``3–5, 9``."""
    found: list[list[int]] = []
    for number in numbers.tolist():
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ", ".join(str(g[0]) if len(g) == 1 else f"{g[0]}–{g[-1]}" for g in found)


def _where(wall: Wall, pixels: Tensor) -> str:
    """A set of pixels [H, W] in words: by rows or columns where the wall is made of these."""
    axes = [int(i) for i in (0, 1) if wall.cut is not None and wall.cut[0] == i] or [0, 1]
    lines = [
        f"{('rows', 'columns')[axis]} {_spans(pixels.any(dim=1 - axis).nonzero()[:, 0])}"
        for axis in axes
    ]
    return lines[0] if len(lines) == 1 else f"{int(pixels.sum())} pixels in {', '.join(lines)}"


def _refuse(wall: Wall, pixels: Tensor, how: str) -> None:
    if pixels.any():
        raise BlindnessError(
            f"the wall has a hole: {_where(wall, pixels)} are said to be hidden (the wall hides "
            f"{wall}) but {how}; state the wall where it is, or let camwall.build_wall make one"
        )


def _gradients(
    model: Walled, images: Tensor, every_class: bool, gen: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Pixels [H, W] where the gradient of some score is not 0, and classes the hidden ones move.

    The classes are those whose score has a derivative other than 0 along a random direction of the
    hidden pixels; None where ``every_class`` asked each class by itself, also because the network
    has a layer that cannot be differentiated twice.
    """
    images = images.detach().clone().requires_grad_()
    direction = torch.randn(images.shape, generator=gen).to(images)
    direction = direction.where(model.wall.hidden.to(images.device), 0.0)
    moved = None
    with torch.enable_grad():
        scores = finite(model(images))
        classes = scores.shape[1]
        if not scores.requires_grad:  # a visible side that reaches no score, or code that detaches
            return torch.zeros(images.shape[2:], dtype=torch.bool), None
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
        seen = torch.zeros(images.shape[2:], dtype=torch.bool, device=images.device)
        for weight in weights.to(scores):
            (grad,) = torch.autograd.grad(
                scores, images, weight.expand_as(scores), retain_graph=True
            )
            seen |= (grad != 0).any(dim=1).any(dim=0)  # NaN != 0 counts as seen
    return seen.cpu(), moved


def _extremes(images: Tensor) -> list[Tensor]:
    far = 1e3 * max(float(images.abs().max()), 1.0)
    return [torch.full_like(images, value) for value in (far, -far)]


def _fills(images: Tensor, count: int, gen: torch.Generator) -> Iterator[Tensor]:
    """What to paint hidden pixels with: constants, ramps, other pictures, extremes, then noise."""
    low, high = float(images.min()), float(images.max())
    fixed = [torch.full_like(images, value) for value in (0.0, (low + high) / 2, low, high)]
    ramp = torch.linspace(low, high, images.shape[3], dtype=images.dtype, device=images.device)
    fixed += [ramp.expand_as(images), images.roll(1, dims=0)]
    fixed += [images.flip(2), images.flip(3), *_extremes(images)]
    for index in range(count):
        if index < len(fixed):
            yield fixed[index]
        else:
            yield (high - low) * torch.randn(images.shape, generator=gen).to(images)


@outside_inference_mode
def certify(
    model: Walled,
    images: Tensor | None = None,
    *,
    every_class: bool = False,
    probes: int = 3,
    repaints: int = 12,
    seed: int = 0,
) -> Certificate:
    """Certify that nothing behind a model's wall can change a score, as far as that can be known.

    *Proved*, for every input, is what follows from how the model is made: for a network that
    `build_wall` walled, that its scores are a function of the visible pixels alone; for a masked
    network, that no hidden pixel is in the receptive field of a weight that is not 0.

    *Probed* is what any network can be asked, and what a network that branches on its input could
    still escape: on noise, grey, a ramp and the caller's images,

    1. the gradient of every class score is exactly 0 at the hidden pixels: for each score by itself
       along random directions of these, and at each by itself for random combinations of the
       scores. What is not 0 escapes either question with probability 0;
    2. the scores stay the same bit for bit when the hidden pixels are repainted, with constants,
       ramps, other pictures, a thousand times the images' extremes, and noise, in batches of 1, 2
       and 5 without gradients and of 1 and 2 with.

    Parameters
    ----------
    model : WalledModel
        Left as found: modes, gradients, parameters.
    images : tensor [N, C, H, W], optional
        Network inputs to probe the model on, besides the artificial ones (normalised, as the model
        takes them).
    every_class : bool
        No random directions: one backward pass for each class. Also done for a network with a
        layer that cannot be differentiated twice.
    probes, repaints, seed : int
        Noise images, repaints of each image, and the seed of both.

    Returns
    -------
    Certificate
        Prints as one line.

    Raises
    ------
    BlindnessError
        The model's wall has a hole; the message says where.
    CamwallError
        Scores that are not finite, that change from call to call, or that no visible pixel moves;
        ``probes`` or ``repaints`` below 1.
    """
    if not hasattr(model, "wall"):
        raise CamwallError(
            f"a {type(model).__name__} has no wall to certify: camwall.build_wall makes one"
        )
    if probes < 1 or repaints < 1:
        raise CamwallError(f"certify needs probes ≥ 1 and repaints ≥ 1, not {probes}, {repaints}")
    wall, gen = model.wall, torch.Generator().manual_seed(seed)
    parameter = next(model.parameters(), torch.zeros(()))
    probe = model.probe(probes, gen).to(parameter)
    if images is not None:
        if images.shape[1:] != probe.shape[1:]:
            raise CamwallError(
                f"this model takes images of shape [N, {', '.join(map(str, probe.shape[1:]))}], "
                f"not {list(images.shape)}"
            )
        probe = torch.cat([probe, images.to(parameter)]).clone()  # no inference tensor

    reachable = model.reachable()
    if reachable is not None:
        _refuse(wall, reachable & wall.hidden, "by the layers' receptive fields they reach a score")
    with evaluating(model):  # type: ignore[arg-type]
        with torch.no_grad():
            scores = finite(model(probe))
            if not torch.equal(model(probe), scores):
                raise CamwallError(
                    "the scores change from call to call on the same images: nothing can be "
                    "certified of a network that draws random numbers in evaluation mode"
                )
        # One image at a time: a gradient of a gradient holds all activations several times.
        found = [_gradients(model, one, every_class, gen) for one in probe.split(1)]
        seen = torch.stack([pixels for pixels, _ in found]).any(dim=0)
        moves = [classes for _, classes in found if classes is not None]
        moved = torch.cat(moves).unique() if len(moves) == len(found) else None
        _refuse(wall, seen & wall.hidden, "the gradient of a score is not 0 there")
        if moved is not None and len(moved):
            raise BlindnessError(
                f"the wall has a hole: the scores of classes {_spans(moved)} change with the "
                f"hidden pixels ({wall})"
            )
        if reachable is not None and (seen & ~reachable).any():
            raise BlindnessError(
                f"{_where(wall, seen & ~reachable)} have a gradient but no path by the layers' "
                "receptive fields: the geometry stated for this model is wrong"
            )
        _repaint(model, probe, repaints, gen)
    if not seen.any():
        on = "noise, grey and a ramp: give certify real images" if images is None else "any probe"
        raise CamwallError(
            f"no pixel has a gradient: the model does not look at the image, at least not on {on}"
        )
    visible = ~wall.hidden
    return Certificate(
        wall=wall,
        proved=model.ground,
        classes=scores.shape[1],
        every_class=moved is None,
        probes=len(probe),
        repaints=repaints,
        visible_seen=float(seen[visible].double().mean()),
        last_row_seen=None if wall.row is None else int(seen.any(dim=1).nonzero()[-1]),
    )


def _repaint(model: Walled, probe: Tensor, repaints: int, gen: torch.Generator) -> None:
    """Paint the hidden pixels of the probes anew, and compare all scores bit for bit."""
    wall = model.wall
    hidden = wall.hidden.to(probe.device)
    fills = list(_fills(probe, repaints, gen))

    def scores(images: Tensor, gradients: bool) -> Tensor:
        with torch.set_grad_enabled(gradients):  # some layers run another kernel with gradients
            return finite(model(images)).detach()

    # Every repaint on all probes at once; then one of them in every batch size and mode, and both
    # extremes, between which each pixel lies: a jump that it makes with a pixel shows in one.
    trials = [(probe, fill, False) for fill in fills]
    for number, size in enumerate(BATCHES):
        few = torch.arange(size) % len(probe)
        for gradients in (False, True) if size in WITH_GRADIENTS else (False,):
            for fill in (fills[(2 * number + gradients) % len(fills)], *_extremes(probe)):
                trials.append((probe[few], fill[few], gradients))
    before: dict[tuple[int, bool], Tensor] = {}
    for images, fill, gradients in trials:
        key = len(images), gradients
        if images is probe:
            key = -1, gradients
        if key not in before:
            before[key] = scores(images, gradients)
        repainted = torch.where(hidden, fill, images)
        if torch.equal(scores(repainted, gradients), before[key]):
            continue
        # Line by line, so that the message can say where.
        found = torch.zeros_like(wall.hidden)
        axis = wall.cut[0] if wall.cut is not None else 0
        for line in wall.hidden.any(dim=1 - axis).nonzero()[:, 0].tolist():
            one = torch.zeros_like(wall.hidden)
            one.select(axis, line)[:] = True
            one &= wall.hidden
            mixed = torch.where(one.to(images.device), repainted, images)
            if not torch.equal(scores(mixed, gradients), before[key]):
                found |= one
        _refuse(wall, found if found.any() else wall.hidden, "repainting them changes a score")
