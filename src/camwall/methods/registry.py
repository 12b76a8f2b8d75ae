"""What a saliency method is, and the register of all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from torch import Tensor

from camwall.errors import CamwallError

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


@dataclass(frozen=True)
class Method:
    """A saliency method.

    Attributes
    ----------
    name : str
    weights : str
        What multiplies the maps, in one sentence.
    mechanism : Mechanism
    sees_through : bool
        Whether repainting what is hidden can move its raw map (`camwall.response`).
    reference : str
        Key in the book's bibliography.
    raw : Evidence → tensor [N, h, w], or None
        The raw maps, before negative values are cut; None where only the package grad-cam has
        the method.
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
    sees_through: bool
    reference: str
    raw: "Callable[[Evidence], Tensor] | None" = None
    package: str | None = None
    variant_of: str | None = None
    departs: str = ""


METHODS: dict[str, Method] = {}


def register(method: Method) -> Method:
    """Add ``method`` to `METHODS`.

    Raises
    ------
    CamwallError
        A name that is taken.
    """
    if method.name in METHODS:
        raise CamwallError(f"a method named {method.name!r} is registered already")
    METHODS[method.name] = method
    return method


def find(method: str | Method) -> Method:
    """The method of that name.

    Raises
    ------
    CamwallError
        An unknown name, with those that are known.
    """
    if isinstance(method, Method):
        return method
    if not isinstance(method, str) or method not in METHODS:
        raise CamwallError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    return METHODS[method]


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
