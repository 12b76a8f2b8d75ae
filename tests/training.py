"""Small data and networks that the tests of training share."""

import torch

from camwall.models import MaskedModel
from camwall.models.small import small_vgg
from camwall.train import TrainingData
from camwall.train.sources import ArraySource


def make_data(count: int = 96, classes: int = 4, seed: int = 0) -> TrainingData:
    """Seeded noise images whose class shows in the brightness of the top rows."""
    gen = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    images = torch.randint(0, 128, (count, 1, 28, 28), generator=gen)
    images[:, :, :10] += (labels * 127 // classes)[:, None, None, None]
    source = ArraySource(images.to(torch.uint8), labels)
    model = small_vgg(classes=classes)
    return TrainingData(
        "noise", source, source, model.preprocessing, tuple(str(c) for c in range(classes))
    )


def make_model(data: TrainingData, masked: bool = True, seed: int = 0) -> MaskedModel:
    torch.manual_seed(seed)
    return data.network(masked=masked)
