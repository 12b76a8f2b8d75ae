"""The certificate: what is known of a wall for every input, and what was probed."""

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from camwall.as_found import evaluating, finite, outside_inference_mode, same_bits
from camwall.errors import BlindnessError, CamwallError, check_count, in_one_line
from camwall.wall.shape import Wall

if TYPE_CHECKING:
    from camwall.models import WalledModel

#: Batch sizes that are tried: a network may treat one image, or several, in a way of their own.
BATCHES = (1, 2, 3, 5)
#: Those that are tried with gradients too; a larger one would hold too much for a small machine.
WITH_GRADIENTS = (1, 2)


@dataclass(frozen=True)
class Certificate:
    """What was found; printing it gives one line."""

    wall: Wall
    #: What holds for every input, and why; None where all there is was probed.
    proved: str | None
    classes: int
    #: Whether each class had a backward pass of its own.
    every_class: bool
    #: Images, and ways in which their hidden pixels were painted anew.
    probes: int
    repaints: int
    #: The share of visible pixels at which a score had a gradient on the probes.
    visible_seen: float
    #: The last row at which one had, for a wall that is a row.
    last_row_seen: int | None

    def __str__(self) -> str:
        wall = self.wall
        proved = "nothing is proved" if self.proved is None else f"proved {self.proved}"
        of = "each" if self.every_class else "random combinations"
        last = "" if self.last_row_seen is None else f", row {self.last_row_seen} the last"
        return (
            f"blind to {wall} ({wall.share:.1%} of the pixels): {proved}; probed on {self.probes} "
            f"images: the gradient of {of} of the {self.classes} scores is exactly 0 at each "
            f"hidden pixel, all scores the same bit for bit under {self.repaints} repaints, some "
            f"of them in batches of {', '.join(map(str, BATCHES))} without gradients and of "
            f"{', '.join(map(str, WITH_GRADIENTS))} with too; {self.visible_seen:.1%} of the "
            f"visible pixels were seen to reach a score{last}"
        )


def _spans(numbers: Tensor) -> str:
    """``[3, 4, 5, 9]`` as ``3–5, 9``."""
    runs = groupby(enumerate(numbers.tolist()), lambda place: place[1] - place[0])
    ends = [[number for _, number in run] for _, run in runs]
    return ", ".join(str(g[0]) if len(g) == 1 else f"{g[0]}–{g[-1]}" for g in ends)


def in_words(wall: Wall, pixels: Tensor) -> str:
    """A set of pixels [H, W] in words: by rows or columns where the wall is made of these."""
    axes = [0, 1] if wall.cut is None else [wall.cut[0]]
    lines = [
        f"{('rows', 'columns')[axis]} {_spans(pixels.any(dim=1 - axis).nonzero()[:, 0])}"
        for axis in axes
    ]
    return lines[0] if len(lines) == 1 else f"{int(pixels.sum())} pixels in {', '.join(lines)}"


def _refuse(wall: Wall, pixels: Tensor, how: str) -> None:
    if pixels.any():
        raise BlindnessError(
            f"the wall has a hole: {in_words(wall, pixels)} are said to be hidden (the wall hides "
            f"{wall}) but {how}; state the wall where it is, or let camwall.build_wall make one"
        )


def _seen(model: "WalledModel", image: Tensor, every_class: bool, gen: torch.Generator) -> Tensor:
    """Pixels [H, W] of an image [1, C, H, W] where the gradient of some score is not 0."""
    image = image.detach().clone().requires_grad_()
    seen = torch.zeros(image.shape[2:], dtype=torch.bool, device=image.device)
    with torch.enable_grad():
        scores = finite(model(image))
    if scores.requires_grad:  # not of a visible side that reaches no score, or code that detaches
        # A random combination of the classes has gradient 0 only where every class has: the
        # combinations for which anything else cancels form a set of probability 0.
        count = scores.shape[1]
        weights = (
            torch.eye(count, device="cpu")
            if every_class
            else torch.randn(2, count, generator=gen, device="cpu")
        )
        for weight in weights.to(scores):
            with in_one_line("the scores have no gradients", "let the network be differentiable"):
                (grad,) = torch.autograd.grad(scores, image, weight[None], retain_graph=True)
            if model.ground is not None and grad.isnan().any():
                raise CamwallError(
                    "the gradient of a score is NaN on a probe, as of a root or a quotient at 0: "
                    "nothing can be certified of it; let the network add a small number there"
                )
            seen |= (grad != 0).any(dim=1)[0]  # NaN != 0 counts as seen
    return seen.cpu()


def _fills(images: Tensor, count: int, gen: torch.Generator) -> list[Tensor]:
    """What to paint hidden pixels with: extremes, constants, ramps, other pictures, then noise."""
    low, high = float(images.min()), float(images.max())
    # As far as half precision reaches, or a million times the images.
    most = float(images.abs().max().clamp(min=1.0))
    far = most * (1e6 if torch.finfo(images.dtype).max > 1e30 else 1e3)
    constants = far, -far, 0.0, (low + high) / 2, low, high
    fills = [torch.full_like(images, value) for value in constants]
    levels = torch.linspace(low, high, 2 * len(images) + 1).to(images)
    for own in (levels[::2][: len(images)], levels[1::2]):  # of each image another grey
        fills.append(own.view(-1, 1, 1, 1).expand_as(images))
    ramp = torch.linspace(low, high, images.shape[3], dtype=images.dtype, device=images.device)
    fills += [ramp.expand_as(images), images.roll(1, dims=0), images.flip(2), images.flip(3)]
    known = len(fills)
    for number in range(known, count):
        noise = torch.randn(images.shape, generator=gen, device="cpu").to(images)
        # First far ones of either sign: of any two pixels both orders come.
        fills.append(far * noise.sign() if number < known + 2 else (high - low) * noise)
    return fills[: max(count, 2)]


@outside_inference_mode
def certify(
    model: "WalledModel",
    images: Tensor | None = None,
    *,
    every_class: bool = False,
    probes: int = 3,
    repaints: int = 16,
    seed: int = 0,
) -> Certificate:
    """Certify that nothing behind a model's wall can change a score, as far as that can be known.

    *Proved*, for every input, is what follows from how the model is made: for a network that
    `build_wall` walled, that its scores are a function of the visible pixels alone; for a masked
    network, that no hidden pixel is in the receptive field of a weight that is not 0.

    *Probed* is what any network can be asked, and what a network that branches on its input could
    still escape: on noise, grey, a ramp and the caller's images,

    1. the gradient of random combinations of the scores is exactly 0 at each hidden pixel: a score
       whose own is not 0 there escapes with probability 0;
    2. the scores stay the same bit for bit when the hidden pixels are repainted, with constants,
       ramps, other pictures, a million times the images' extremes, and noise, some of them in
       batches of 1, 2, 3 and 5 without gradients and of 1 and 2 with; on black, white, coloured,
       checked and striped images too.

    On a GPU a masked network is probed without cuDNN, whose convolutions may round with pixels that
    their windows do not hold.

    No probe excludes a branch on hidden values that none of these has (one pixel, or a mean, within
    a narrow window; NaN), on a visible half unlike all that was tried, or on another batch size,
    type or mode: of those the proof alone speaks, where there is one.

    Parameters
    ----------
    model : WalledModel
        Left as found.
    images : tensor [N, C, H, W], optional
        Network inputs to probe the model on, besides the artificial ones.
    every_class : bool
        No random combinations: one backward pass for each class.
    probes, repaints, seed : int
        Noise images, repaints of each image (two at least), and the seed of both.

    Raises
    ------
    BlindnessError
        The model's wall has a hole; the message says where.
    CamwallError
        Scores that are not finite, that change from call to call, or that no visible pixel moves;
        gradients that are NaN.

    Examples
    --------
    >>> from camwall.testing import walled_model
    >>> certificate = certify(walled_model())
    >>> certificate.wall, certificate.last_row_seen
    (Wall(rows 23–31 of 32×32), 22)
    """
    if not hasattr(model, "wall"):
        raise CamwallError(
            f"a {type(model).__name__} has no wall to certify: camwall.build_wall makes one"
        )
    probes, repaints = check_count("probes", probes), check_count("repaints", repaints)
    wall, gen = model.wall, torch.Generator().manual_seed(check_count("seed", seed, 0))
    probe = model.preprocessing.artificial(model, probes, gen)
    if images is not None:
        images = images.to(probe.device) if isinstance(images, Tensor) else images
        model.check_images(images)
        if not len(images):
            raise CamwallError("no images to certify on: leave images out, or give some")
        probe = torch.cat([probe, images.to(probe.dtype)]).clone()  # no inference tensor

    reachable = model.reachable()
    if reachable is not None:
        _refuse(wall, reachable & wall.hidden, "by the layers' receptive fields they reach a score")
    with evaluating(model), same_bits(model):
        with torch.no_grad():
            scores = finite(model(probe))
            if not torch.equal(model(probe), scores):
                raise CamwallError(
                    "the scores change from call to call on the same images: nothing can be "
                    "certified of a network that draws random numbers in evaluation mode"
                )
        seen = torch.zeros_like(wall.hidden)
        for image in probe.split(1):  # one at a time, for a small machine
            seen |= _seen(model, image, every_class, gen)
        _refuse(wall, seen & wall.hidden, "the gradient of a score is not 0 there")
        if reachable is not None and (seen & ~reachable).any():
            raise BlindnessError(
                f"{in_words(wall, seen & ~reachable)} have a gradient but no path by the layers' "
                "receptive fields: the geometry stated for this model is wrong"
            )
        fills = _fills(probe, repaints, gen)
        _repaint(model, probe, fills)
    if not seen.any():
        on = "noise, grey and a ramp: give certify real images" if images is None else "any probe"
        raise CamwallError(
            f"no pixel has a gradient: the model does not look at the image, at least not on {on}"
        )
    return Certificate(
        wall=wall,
        proved=model.ground,
        classes=scores.shape[1],
        every_class=every_class,
        probes=len(probe),
        repaints=len(fills),
        visible_seen=float(seen[~wall.hidden].double().mean()),
        last_row_seen=None if wall.row is None else int(seen.any(dim=1).nonzero()[-1]),
    )


def _extremes(model: "WalledModel", probe: Tensor) -> Tensor:
    """Black, white, one colour, checks and stripes: what no noise comes near, [5, C, H, W]."""
    pixels = torch.zeros(5, *probe.shape[1:])
    pixels[1] = 1
    pixels[2, :1] = 1
    pixels[3, :, ::2, ::2] = pixels[3, :, 1::2, 1::2] = 1
    pixels[4, :, :, ::2] = 1
    return model.preprocessing.normalize(pixels).to(probe)


def _repaint(model: "WalledModel", probe: Tensor, fills: list[Tensor]) -> None:
    """Paint the hidden pixels of the probes anew, and compare all scores bit for bit."""
    wall = model.wall
    hidden = wall.hidden.to(probe.device)

    def scores(images: Tensor, gradients: bool) -> Tensor:
        with torch.set_grad_enabled(gradients):  # some layers run another kernel with gradients
            return finite(model(images)).detach()

    # Every repaint on all probes at once; on visible extremes, and in every batch size and mode,
    # one of them and both extremes, between which each pixel lies: a jump that it makes shows.
    strange = _extremes(model, probe)
    far = [fill[:1].expand_as(strange) for fill in fills[:2]]
    trials = [(probe, fills, False), (strange, [*far, strange.flip(0)], False)]
    for number, size in enumerate(BATCHES):
        few = torch.arange(size) % len(probe)
        for gradients in (False, True) if size in WITH_GRADIENTS else (False,):
            some = [*fills[:2], fills[(2 * number + gradients + 2) % len(fills)]]
            trials.append((probe[few], [fill[few] for fill in some], gradients))
    for images, some, gradients in trials:
        before = scores(images, gradients)
        for fill in some:
            repainted = torch.where(hidden, fill, images)
            if torch.equal(scores(repainted, gradients), before):
                continue
            # Line by line, so that the message can say where.
            found = torch.zeros_like(hidden)
            axis = 0 if wall.cut is None else wall.cut[0]
            for line in hidden.any(dim=1 - axis).nonzero()[:, 0]:
                one = torch.zeros_like(hidden).index_fill_(axis, line, True) & hidden
                mixed = torch.where(one, repainted, images)
                if not torch.equal(scores(mixed, gradients), before):
                    found |= one
            found = found if found.any() else hidden
            _refuse(wall, found.cpu(), "repainting them changes a score")
