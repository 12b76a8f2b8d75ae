"""Opti-CAM: channel weights found by optimisation, image by image."""

import torch
import torch.nn.functional as F
from torch import Tensor

from camwall.errors import CamwallError
from camwall.methods.cams import weighted
from camwall.methods.evidence import Evidence
from camwall.methods.registry import Mechanism, Method

#: The settings of the method's authors.
STEPS, RATE = 50, 0.1


def opticam_weights(evidence: Evidence, steps: int, rate: float) -> Tensor:
    """Channel weights softmax(w) [N, V] that make the masked image score most.

    The mask is Σ_v softmax(w)_v ReLU(B_v), upsampled (half-pixel) and stretched to [0, 1]; it
    multiplies the pixels in [0, 1], before mean and standard deviation. From w = 0, Adam climbs
    the target's score for ``steps`` steps. There is no early stop: the authors' looks at the sum
    over the batch, which would make an image's map depend on its neighbours; here each image's
    path is its own. No gradient is taken for the model's weights.
    """
    model, images = evidence.model, evidence.images.detach()
    pixels = model.preprocessing.denormalize(images)
    rows = evidence.rows_read
    maps = evidence.maps.detach().clamp(min=0)
    logits = torch.zeros(maps.shape[:2], dtype=maps.dtype, device=maps.device, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=rate)
    with torch.enable_grad():
        for _ in range(steps):
            mask = weighted(logits.softmax(dim=1), maps)
            mask = F.interpolate(
                mask[:, None], images.shape[2:], mode="bilinear", align_corners=False
            )
            low, high = mask.amin(dim=(2, 3), keepdim=True), mask.amax(dim=(2, 3), keepdim=True)
            mask = (mask - low) / (high - low).where(high > low, 1.0)
            masked = model.preprocessing.normalize(pixels[:, :, :rows] * mask[:, :, :rows])
            scores = evidence.target_scores(evidence.scores_of([masked]))
            (logits.grad,) = torch.autograd.grad(-scores.sum(), logits)
            adam.step()
    return logits.detach().softmax(dim=1)


def opticam(steps: int = STEPS, rate: float = RATE) -> Method:
    """Opti-CAM with settings of one's own.

    Parameters
    ----------
    steps : int
        Steps of Adam; 50 as its authors.
    rate : float
        Its learning rate; 0.1 as its authors.

    Returns
    -------
    Method
        To be given to `explain` or `check`; ``METHODS["Opti-CAM"]`` has the authors' settings.
    """
    if steps < 1 or not rate > 0:
        raise CamwallError(f"Opti-CAM needs steps ≥ 1 and rate > 0, not {steps}, {rate}")
    default = (steps, rate) == (STEPS, RATE)
    return Method(
        name="Opti-CAM" if default else f"Opti-CAM ({steps} steps, rate {rate:g})",
        weights="the softmax of the weights that make the masked image score most",
        mechanism=Mechanism.NON_NEGATIVE,
        sees_through=True,
        reference="zhang2024opticam",
        raw=lambda evidence: weighted(
            opticam_weights(evidence, steps, rate), evidence.maps.clamp(min=0)
        ),
        variant_of=None if default else "Opti-CAM",
        departs="always runs all its steps, where its authors' code stops early by batch",
    )
