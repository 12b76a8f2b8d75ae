"""What a saliency method is, and how one of a register is asked for."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

from torch import Tensor

from camwall.errors import CamwallError
from camwall.methods.evidence import Evidence
from camwall.models import WalledModel

#: A method of ours: the evidence of a pass → raw maps [N, h, w], before negative values are cut.
Rule = Callable[[Evidence], Tensor]
#: A saliency method of one's own: (model, images [N, C, H, W], target [N]) → maps [N, H, W].
SaliencyFunction = Callable[[WalledModel, Tensor, Tensor], Tensor]


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
class Named:
    """What is registered by its name."""

    name: str


T = TypeVar("T", bound=Named)


@dataclass(frozen=True)
class Method(Named):
    """A saliency method.

    Attributes
    ----------
    name : str
    weights : str
        What multiplies the maps, in one sentence.
    mechanism : Mechanism
    reference : str
        Key in the book's bibliography.
    raw : Rule, or None
    function : SaliencyFunction, or None
        Of a method without raw maps, of another package or one's own: maps as they are shown.
    package : str or None
        Its class in the package grad-cam.
    variant_of : str or None
        The method this is another rule for.
    departs : str
        How the rule departs from its paper, empty where it does not.
    """

    weights: str
    mechanism: Mechanism
    reference: str
    raw: Rule | None = None
    function: SaliencyFunction | None = None
    package: str | None = None
    variant_of: str | None = None
    departs: str = ""

    @property
    def sees_through(self) -> bool | None:
        """Whether repainting what is hidden can move its raw map (`camwall.response`).

        None for a function of one's own, of which nobody says.
        """
        if self.mechanism is Mechanism.OWN:
            return None
        return self.mechanism not in (Mechanism.POSITION_WISE, Mechanism.CENTRED)

    def variant(self, name: str, weights: str, raw: Rule, **changes: Any) -> "Method":
        """Another rule for this method, which no package has."""
        fields = {"package": None, "variant_of": self.name, "departs": ""} | changes
        return replace(self, name=name, weights=weights, raw=raw, **fields)


AnyMethod = str | Method | SaliencyFunction


def named(
    asked: Any, known: Mapping[str, T], kind: type[T], of_function: Callable[[str, Any], T]
) -> list[T]:
    """What is asked for of a register: one or several names, ``kind``s or functions, each once.

    A function of one's own, and what it is called, go to ``of_function``. Raises CamwallError for
    an unknown name, two of one name, and nothing at all.
    """
    word = kind.__name__.lower()
    if isinstance(asked, str | kind) or not isinstance(asked, Iterable):
        asked = [asked]
    found: dict[str, T] = {}
    for each in asked:
        if isinstance(each, str):
            if each not in known:
                raise CamwallError(f"unknown {word} {each!r}; known: {', '.join(known)}")
            each = known[each]
        elif not isinstance(each, kind):
            if not callable(each):
                raise CamwallError(
                    f"a {word} is a name, a {kind.__name__} or a function, not {each!r}"
                )
            each = of_function(getattr(each, "__name__", type(each).__name__), each)
        if each.name in found:
            raise CamwallError(f"the {word} {each.name} is asked for twice; give each its own name")
        found[each.name] = each
    if not found:
        raise CamwallError(f"no {word}s to check: the list is empty; known: {', '.join(known)}")
    return list(found.values())


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
