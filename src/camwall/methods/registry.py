"""What a saliency method is."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from camwall.methods.evidence import Evidence


class Mechanism(StrEnum):
    """How a method weighs the maps; it decides whether the method sees through walls.

    Weights at each position do not: behind a wall the gradient they come from is 0.
    """

    SIGNED = "one signed weight a channel"
    NON_NEGATIVE = "one non-negative weight a channel"
    POSITION_WISE = "a weight at each position"
    CENTRED = "a weight at each position, less a mean over positions"
    ACTIVATIONS = "activations alone"
    OWN = "a function of one's own"


@dataclass(frozen=True)
class Method:
    """A saliency method.

    Attributes
    ----------
    name : str
    weights : str
        What multiplies the maps, in one sentence.
    mechanism : Mechanism
    sees_through : bool or None
        Whether repainting what is hidden can move its raw map (`camwall.response`); None where
        nobody says.
    reference : str
        Key in the book's bibliography.
    raw : Evidence → tensor [N, h, w], or None
        The raw maps, before negative values are cut.
    rendered : Evidence → tensor [N, H, W], or None
        Of a method without raw maps, of another package or one's own: maps as they are shown.
    package : str or None
        Its class in the package grad-cam.
    variant_of : str or None
        The method this is another rule for.
    departs : str
        How the rule departs from its paper, empty where it does not.
    """

    name: str
    weights: str
    mechanism: Mechanism
    sees_through: bool | None
    reference: str
    raw: "Callable[[Evidence], Tensor] | None" = None
    rendered: "Callable[[Evidence], Tensor] | None" = None
    package: str | None = None
    variant_of: str | None = None
    departs: str = ""


#: The eight rows of the paper's table, in its order.
PAPER = (
    "GradCAM",
    "GradCAM++",
    "XGradCAM",
    "ScoreCAM",
    "Opti-CAM",
    "AblationCAM",
    "EigenCAM",
    "HiResCAM",
)
