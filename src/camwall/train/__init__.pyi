from camwall.train.loop import Run as Run
from camwall.train.loop import fit as fit
from camwall.train.probes import pair_stacks as pair_stacks
from camwall.train.recipe import Recipe as Recipe
from camwall.train.studies import STUDIES as STUDIES
from camwall.train.studies import Study as Study
from camwall.train.studies import TrainingData as TrainingData
from camwall.train.studies import study as study
