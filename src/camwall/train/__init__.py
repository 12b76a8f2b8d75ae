"""Training masked networks: recipe, studies, the loop, checkpoints."""

from typing import TYPE_CHECKING

from camwall.lazily import lazily

if TYPE_CHECKING:
    from camwall.models import VisiblePart, visible_part
    from camwall.train.loop import Run, fit
    from camwall.train.probes import pair_stacks
    from camwall.train.recipe import Recipe
    from camwall.train.studies import STUDIES, Study, TrainingData, study

__all__ = [
    "STUDIES",
    "Recipe",
    "Run",
    "Study",
    "TrainingData",
    "VisiblePart",
    "fit",
    "pair_stacks",
    "study",
    "visible_part",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "camwall.models": ("VisiblePart", "visible_part"),
        "camwall.train.loop": ("Run", "fit"),
        "camwall.train.probes": ("pair_stacks",),
        "camwall.train.recipe": ("Recipe",),
        "camwall.train.studies": ("STUDIES", "Study", "TrainingData", "study"),
    },
)
