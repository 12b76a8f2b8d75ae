"""Training masked networks: recipe, studies, the loop, checkpoints."""

from typing import TYPE_CHECKING

from camwall.lazily import lazily

if TYPE_CHECKING:
    from camwall.train.loop import Run, fit
    from camwall.train.probes import pair_stacks
    from camwall.train.recipe import Recipe
    from camwall.train.studies import STUDIES, Study, TrainingData, study

__all__ = ["STUDIES", "Recipe", "Run", "Study", "TrainingData", "fit", "pair_stacks", "study"]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "camwall.train.loop": ("Run", "fit"),
        "camwall.train.probes": ("pair_stacks",),
        "camwall.train.recipe": ("Recipe",),
        "camwall.train.studies": ("STUDIES", "Study", "TrainingData", "study"),
    },
    extras={"camwall.train.loop": "train"},
)
