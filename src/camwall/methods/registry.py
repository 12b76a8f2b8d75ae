"""What a saliency method is, and how one of a register is asked for."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal, TypeVar

from torch import Tensor

from camwall.errors import CamwallError, check_list
from camwall.methods.evidence import Evidence
from camwall.models import WalledModel

#: A method of ours: the evidence of a pass → raw maps [N, h, w], before negative values are cut.
Rule = Callable[[Evidence], Tensor]
#: A saliency method of one's own: (model, images [N, C, H, W], target [N]) → maps [N, H, W].
SaliencyFunction = Callable[[WalledModel, Tensor, Tensor], Tensor]


#: Who computes a method: we, or a package through its adapter (`camwall.methods.adapters`).
Engine = Literal["camwall", "grad-cam", "captum", "torch-cam", "zennit"]


class Mechanism(StrEnum):
    """What a method makes its map of; it decides whether the method sees through walls.

    Scores are a function of the visible pixels, so that whatever is made of scores and of their
    gradients alone does not see through, wherever it points. To see, a method must take in the
    maps or the pixels behind the wall, as terms of its map or in a weight.
    """

    #: Of the maps.
    SIGNED = "one signed weight a channel"
    NON_NEGATIVE = "one non-negative weight a channel"
    #: The gradient they come from is 0 behind a wall.
    POSITION_WISE = "a weight at each position"
    CENTRED = "a weight at each position, less a mean over positions"
    ACTIVATIONS = "activations alone"
    #: Of the pixels: the scores' gradient there is 0 behind a wall, and what is passed back by
    #: another rule than the gradient's starts from the same 0.
    INPUT_GRADIENT = "the gradient at each pixel"
    RELEVANCE = "the score passed back by a rule of its own"
    #: It moves at visible pixels of cells that are not read: none, if the wall runs along cells.
    GUIDED_CAM = "the gradient at each pixel times a CAM"
    #: Of scores alone.
    PERTURBATION = "the score without parts of the image"
    SAMPLED = "an estimate from random parts of the image"
    #: The samples' weights are made of all pixels, hidden ones among them.
    PIXEL_WEIGHED = "an estimate from random parts, weighed by their pixels"
    #: In the pass that gives the scores.
    ATTENTION = "attention to each patch"
    OWN = "a function of one's own"


_SEES_THROUGH = (
    Mechanism.SIGNED,
    Mechanism.NON_NEGATIVE,
    Mechanism.ACTIVATIONS,
    Mechanism.GUIDED_CAM,
    Mechanism.PIXEL_WEIGHED,
)


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
        What multiplies the maps, or what the map is made of, in one sentence.
    mechanism : Mechanism
    reference : str
        Key in the book's bibliography.
    raw : Rule, or None
    function : SaliencyFunction, or None
        Of a method without raw maps, of another package or one's own: maps as they are shown.
    packages : engine → str
        What it is called in each package that has it; the first runs it where we have no rule.
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
    packages: Mapping[str, str] = field(default_factory=dict, hash=False)
    variant_of: str | None = None
    departs: str = ""

    @property
    def sees_through(self) -> bool | None:
        """Whether repainting what is hidden can move its raw map (`camwall.response`).

        None for a function of one's own, of which nobody says.
        """
        if self.mechanism is Mechanism.OWN:
            return None
        return self.mechanism in _SEES_THROUGH

    @property
    def engines(self) -> tuple[str, ...]:
        """Who computes it, the one that is taken unless another is asked for first."""
        ours = self.raw is not None or not self.packages
        return (*["camwall"] * ours, *self.packages)

    def variant(self, name: str, weights: str, raw: Rule, **changes: Any) -> "Method":
        """Another rule for this method, which no package has."""
        fields = {"packages": {}, "variant_of": self.name, "departs": ""} | changes
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
    asked = check_list(f"{word}s", asked)
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
