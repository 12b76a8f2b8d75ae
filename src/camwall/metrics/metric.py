"""What a metric is."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from camwall.errors import CamwallError
from camwall.methods import Evidence, Saliency
from camwall.methods.registry import Named
from camwall.methods.saliency import same_draws

#: A metric of one's own: a pass and a method's maps on its images → one number an image, [N].
Measure = Callable[[Evidence, Saliency], Tensor]


def moderate(maps: Tensor) -> Tensor:
    """Maps [N, …] in double precision, each times a power of 2 that brings its values below 1.

    That is exact, and no square overflows or vanishes, as those of float32 do below 1e-23.
    """
    values = maps.detach().cpu().double().numpy()
    _, exponent = np.frexp(np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True))
    return torch.from_numpy(np.ldexp(values, -exponent))


@dataclass(frozen=True)
class Metric(Named):
    """One number for each saliency map, a column of a check's table.

    Attributes
    ----------
    name : str
        Of its column. Records of a run are known by it: a changed metric needs another name, or
        the run another folder.
    measures : str
        What it is, in one sentence. The number is a fraction, and shown in %.
    of : (Evidence, Saliency) → tensor [N]
        From a pass and a method's maps on its images; NaN where an image has no such number.
        `Evidence.scores_of` runs perturbed images. Random numbers are the same in every call.
    repaints : bool
        Reads ``evidence.repaints``, the passes of the same images with their hidden pixels painted
        anew: refused for a model whose scores these move.
    annotation : str or None
        Reads ``evidence.annotations[annotation]``, one value for each image of the pass: refused
        for a set of images that does not bring it.
    reference : str
        Key in the book's bibliography.
    """

    measures: str
    of: Measure
    repaints: bool = False
    annotation: str | None = None
    reference: str = ""

    def __call__(self, evidence: Evidence, maps: Saliency) -> Tensor:
        """The numbers [N]; CamwallError where the function gives anything else."""
        with torch.no_grad(), same_draws():
            found = self.of(evidence, maps)
        if not isinstance(found, Tensor) or list(found.shape) != [len(evidence.images)]:
            said = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise CamwallError(
                f"the metric {self.name} gave {said}, not one number for each of "
                f"{len(evidence.images)} images"
            )
        return found
