"""Training masked networks: recipe, studies, the loop, checkpoints."""

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
