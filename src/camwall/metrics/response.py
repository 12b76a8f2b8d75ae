"""The paired test: does a saliency map move when pixels are repainted that no score can see?"""

from collections.abc import Sequence

import torch
from torch import Tensor

from camwall.as_found import evaluating, finite, outside_inference_mode, same_bits
from camwall.errors import BlindnessError, CamwallError, check_list
from camwall.methods import AnyMethod, Engine, Evidence, Mechanism, Saliency, chosen
from camwall.methods.evidence import Target, check_images
from camwall.metrics.metric import Metric, moderate
from camwall.models import FILLS, WalledModel, fill

#: What the hidden pixels are repainted with: grey, what another image hides, the visible content
#: mirrored, noise.
REPAINTS = ("grey", "other", "mirror", "noise")


def repaint(name: str, model: WalledModel, images: Tensor, others: Tensor) -> Tensor:
    """``images`` [N, C, H, W] with their hidden pixels painted anew.

    ``name`` is one of `camwall.models.FILLS`, or ``other``, which takes those of ``others``.
    """
    if name == "other":
        return torch.where(model.wall.hidden.to(images.device), others, images)
    if name not in FILLS:
        raise CamwallError(f"unknown repaint {name!r}; known: other, {', '.join(FILLS)}")
    return fill(name, images, model.wall, model.preprocessing)


def blind_scores(model: WalledModel, images: Tensor, repainted: Sequence[Tensor]) -> Tensor:
    """The scores of a model, finite; BlindnessError if a repaint moves them."""
    with torch.no_grad(), same_bits(model):
        scores = finite(model(images))
        if not all(torch.equal(model(other), scores) for other in repainted):
            raise BlindnessError(
                "repainting what is said to be hidden moves the scores: the response is measured "
                "on a model that is blind behind its wall (camwall.certify says where it is not)"
            )
    return scores


def change(before: Tensor, after: Tensor) -> Tensor:
    """‖before − after‖₂ / ‖before‖₂ of each map, [N]; 0 where they are equal bit for bit.

    Infinite for a map that was zero everywhere and is not any more.
    """
    before, after = moderate(torch.stack([before, after], dim=1)).flatten(2).unbind(dim=1)
    moved, size = (before - after).norm(dim=1), before.norm(dim=1)
    return torch.where(moved == 0, 0.0, moved / size)


def changes(evidence: Evidence, maps: Saliency) -> Tensor:
    """How far a method's maps of a pass move under each of its repaints, [repaints, N].

    CamwallError for a function whose maps move from call to call, and for maps that are no numbers.
    """
    method, before = maps.method, maps.cut

    def moved(other: Evidence) -> Tensor:
        after = Saliency(other, method).cut
        if not (torch.isfinite(before).all() and torch.isfinite(after).all()):
            raise CamwallError(
                f"{method.name} gives a map that holds NaN or infinite values; its response has "
                "no meaning"
            )
        return change(before, after)

    def each() -> Tensor:
        if method.mechanism is Mechanism.OWN and moved(evidence).any():
            raise CamwallError(
                f"{method.name} gives another map from call to call, the seeds of torch, NumPy and "
                "random held: it has no response to measure"
            )
        return torch.stack([moved(other) for other in evidence.repaints])

    return evidence.once(f"changes of {method.name}", each)


RESPONSE = Metric(
    "response",
    "how far repainting the hidden pixels moves the map, in units of its norm",
    lambda evidence, maps: changes(evidence, maps).amax(dim=0),
    repaints=True,
)


@outside_inference_mode
def response(
    model: WalledModel,
    images: Tensor,
    method: AnyMethod,
    target: Target = None,
    *,
    repaints: Sequence[str] = REPAINTS,
    engine: Engine = "camwall",
) -> Tensor:
    """How far repainting the hidden pixels moves a method's saliency map, in units of its norm.

    For images x and x′ that differ in hidden pixels only, the scores are the same bit for bit. With
    S the raw map, for the same target and the same random numbers,

        max over x′ of ‖S(x) − S(x′)‖₂ / ‖S(x)‖₂.

    It is exactly 0 for a method that does not look behind the wall, whatever the network, the
    layer, the wall and the construction; flat, random and interpolated maps have it 0 too, wherever
    they point.

    Parameters
    ----------
    model, images, method, target, engine
        As in `camwall.explain`. Our methods' raw maps are compared on their own grid, negative
        values cut; the maps of a function as they are.
    repaints : sequence of str
        What the hidden pixels are repainted with: ``other`` for those of the next image (of the
        same image turned upside down, if there is one alone), or names in `camwall.models.FILLS`.

    Returns
    -------
    tensor [N], float64
        Infinite where a map was zero everywhere, and is not under a repaint.

    Raises
    ------
    BlindnessError
        The scores of the first image move under a repaint.
    CamwallError
        As `camwall.explain`; unknown repaints; a function that draws from a source of its own; maps
        that are no numbers.

    Examples
    --------
    >>> from camwall.testing import some_images, walled_model
    >>> model = walled_model()
    >>> images = some_images(model)
    >>> response(model, images, "HiResCAM")
    tensor([0., 0., 0., 0.], dtype=torch.float64)
    >>> response(model, images, "GradCAM") > 0.1
    tensor([True, True, True, True])
    """
    if not (repaints := check_list("repaints", repaints)):
        raise CamwallError("a response needs at least one repaint")
    check_images(model, images)
    (asked,) = chosen(method, engine)
    with evaluating(model), torch.no_grad():
        evidence = Evidence(model, images, target)
        others = images.roll(-1, dims=0) if len(images) > 1 else images.flip((2, 3))
        painted = [repaint(name, model, evidence.images, others) for name in repaints]
        blind_scores(model, evidence.images[:1], [each[:1] for each in painted])
        # One after the other: the images are as many as the caller likes.
        evidence.repaints = (evidence.repainted(each)[0] for each in painted)
        return RESPONSE(evidence, Saliency(evidence, asked))
