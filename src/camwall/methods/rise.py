"""RISE: random masks, each weighed by what the network says of the masked image."""

import torch
from torch import Tensor

from camwall.methods.evidence import CHUNK
from camwall.methods.saliency import upsample
from camwall.models import WalledModel

#: Masks; cells of a mask a side; the share of cells that are 1.
MASKS, CELLS, SHARE = 128, 7, 0.5


def random_masks(count: int, height: int, width: int) -> Tensor:
    """Masks [count, H, W] in [0, 1]: random cells, enlarged bilinearly and shifted at random."""
    cell_height, cell_width = -(-height // CELLS), -(-width // CELLS)
    cells = (torch.rand(count, CELLS + 1, CELLS + 1) < SHARE).float()
    large = upsample(cells, ((CELLS + 1) * cell_height, (CELLS + 1) * cell_width))
    rows, columns = (torch.randint(size, (count,)).tolist() for size in (cell_height, cell_width))
    return torch.stack(
        [
            mask[row : row + height, column : column + width]
            for mask, row, column in zip(large, rows, columns, strict=True)
        ]
    )


@torch.no_grad()
def rise(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
    """Σ_i p(x ⊙ m_i) m_i / (N · share), p the target's probability.

    The masks m_i are the same for all images; they multiply the normalised image, as the authors'
    code has it, so that what is taken away is grey.
    """
    masks = random_masks(MASKS, *images.shape[2:]).to(images)
    found = torch.zeros_like(images[:, 0])
    for index, image in enumerate(images):
        for some in masks.split(2 * CHUNK):
            likely = model.scores(image * some[:, None]).softmax(dim=1)[:, target[index]]
            found[index] += torch.einsum("m,mhw->hw", likely, some)
    return found / (MASKS * SHARE)
