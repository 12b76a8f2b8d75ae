"""What training the paper's networks costs on GPUs, from counted work and stated assumptions."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

#: ImageNet-1k: images to train and to validate on.
IMAGENET_TRAIN, IMAGENET_VAL = 1_281_167, 50_000


@dataclass(frozen=True)
class Gpu:
    """A GPU by its maker's data sheet: dense bf16 matrix products, and memory."""

    teraflops: float
    gibibytes: float


GPUS = {
    "RTX 4090": Gpu(165.2, 24),
    "A100": Gpu(312.0, 80),
    "H100 SXM": Gpu(989.4, 80),
}


def training_costs(
    flops_per_image: Mapping[str, float],
    *,
    utilisation: float,
    rate_per_core: float,
    epochs: int = 90,
    gpus: Mapping[str, Gpu] = GPUS,
) -> pd.DataFrame:
    """Hours on one GPU, and the CPU cores that keep it fed.

    Parameters
    ----------
    flops_per_image : name → float
        Floating-point operations of a training step (forward and backward) for one image; a
        validation image costs a third.
    utilisation : float
        The share of the data sheet's peak that training is assumed to reach, in (0, 1].
    rate_per_core : float
        Images per second that one core decodes.
    epochs : int
        Each over ImageNet's training images, followed by its validation images.
    gpus : name → Gpu

    Returns
    -------
    DataFrame
        One row for each GPU and network: ``images_per_second``, ``hours``, ``cores``.
    """
    rows = []
    for gpu, sheet in gpus.items():
        for network, flops in flops_per_image.items():
            rate = utilisation * sheet.teraflops * 1e12 / flops
            images = epochs * (IMAGENET_TRAIN + IMAGENET_VAL / 3)
            rows.append(
                {
                    "GPU": gpu,
                    "network": network,
                    "images_per_second": rate,
                    "hours": images / rate / 3600,
                    "cores": rate / rate_per_core,
                }
            )
    return pd.DataFrame(rows)
