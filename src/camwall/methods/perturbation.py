"""The methods that change something and look at the score: AblationCAM, ScoreCAM, Opti-CAM."""

from functools import partial

import torch
from torch import Tensor, nn

from camwall.methods.cams import weighted
from camwall.methods.evidence import CHUNK, Evidence
from camwall.methods.registry import Rule
from camwall.methods.saliency import upsample
from camwall.models.masked import linear
from camwall.wall.reach import leaves

#: Layers that act on each channel apart and are linear, in evaluation mode.
_APART = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.Flatten)


def ablated_scores(evidence: Evidence, index: int) -> Tensor:
    """The target's score with each channel of image ``index`` set to 0 in turn: [V].

    Where the head starts with a linear layer on (pooled, flattened) maps, its output is a sum over
    channels: W·B = Σ_v W_v·B_v. One product gives every term, and the layer's output without
    channel v is the whole less that term; only what follows the layer runs V times. For any other
    head the ablated maps go through it in chunks.
    """
    maps = evidence.maps[index : index + 1]
    unit = int(evidence.target[index])
    layers = list(leaves(evidence.chain or nn.Identity()))
    if type(last := layers[-1]) is nn.Linear:  # of its outputs only the target's is wanted
        one = slice(unit, unit + 1)
        layers[-1] = linear(last.weight[one], None if last.bias is None else last.bias[one])
        unit = 0
    start = next((i for i, layer in enumerate(layers) if type(layer) not in _APART), 0)
    first, rest = layers[start], layers[start + 1 :]
    cells = nn.Sequential(*layers[:start])(evidence.model.read(maps))
    if type(first) is not nn.Linear or cells.ndim != 2:
        return _ablated_by_copies(evidence, index)
    apart = maps.shape[1], -1
    terms = torch.einsum("vc,uvc->vu", cells.reshape(apart), first.weight.unflatten(1, apart))
    whole = terms.sum(dim=0) if first.bias is None else terms.sum(dim=0) + first.bias
    return nn.Sequential(*rest)(whole - terms)[:, unit]


def _ablated_by_copies(evidence: Evidence, index: int) -> Tensor:
    maps, scores = evidence.maps[index : index + 1], []
    for channels in torch.arange(maps.shape[1], device=maps.device).split(CHUNK):
        copies = maps.repeat(len(channels), 1, 1, 1)
        copies[torch.arange(len(channels)), channels] = 0
        scores.append(evidence.target_scores(evidence.scores_at(copies, index), index))
    return torch.cat(scores)


def ablationcam(evidence: Evidence, *, absolute: bool = False) -> Tensor:
    """α_v = (y − y_v) / y, with y_v the score without channel v; or over |y|.

    0 for 0/0: a channel that takes nothing away has no weight.
    """
    with torch.set_grad_enabled(evidence.differentiable):
        score = evidence.target_scores(evidence.scores)[:, None]

        def without() -> Tensor:
            return torch.stack([ablated_scores(evidence, i) for i in range(len(evidence.images))])

        drops = score - evidence.once("ablated", without, shared=True)
        size = score.abs() if absolute else score
        return weighted(drops / size.where((score != 0) | (drops != 0), 1.0), evidence.maps)


#: Chunks of perturbed images whose maps go through the head together.
HEAD_CHUNKS = 32


def masked_scores(evidence: Evidence, index: int, align_corners: bool) -> Tensor:
    """The target's score of image ``index`` times each channel's mask: [V].

    A mask is the channel upsampled to the image and stretched to [0, 1]; it multiplies the
    normalised image. Channels that are constant all have the mask 0: one forward pass serves them.
    The others run in chunks, so that memory does not grow with the number of channels.
    """
    image, maps = evidence.images[index : index + 1], evidence.maps[index].detach()
    rows = evidence.rows_read
    spread = maps.amax(dim=(1, 2)) > maps.amin(dim=(1, 2))
    scores = torch.empty(len(maps), dtype=maps.dtype, device=maps.device)

    def masked(channels: Tensor) -> Tensor:
        masks = upsample(maps[channels], image.shape[2:], align_corners)[:, None]
        low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
        masks = (masks[:, :, :rows] - low) / (high - low + 1e-8)
        return image[:, :, :rows] * masks

    if not spread.all():
        black = torch.zeros_like(image)[:, :, :rows]
        scores[~spread] = evidence.target_scores(evidence.scores_of([black]), index)
    # The head's weights are many and are read once for a whole group of chunks.
    for group in spread.nonzero()[:, 0].split(HEAD_CHUNKS * CHUNK):
        chunks = (masked(channels) for channels in group.split(CHUNK))
        scores[group] = evidence.target_scores(evidence.scores_of(chunks), index)
    return scores


def scorecam(evidence: Evidence, *, align_corners: bool = True) -> Tensor:
    """α = softmax over channels of the masked images' scores; the weights are constants."""
    with torch.no_grad():
        scores = [masked_scores(evidence, i, align_corners) for i in range(len(evidence.images))]
    return weighted(torch.stack(scores).softmax(dim=1), evidence.maps)


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
            mask = upsample(weighted(logits.softmax(dim=1), maps), images.shape[2:])[:, None]
            low, high = mask.amin(dim=(2, 3), keepdim=True), mask.amax(dim=(2, 3), keepdim=True)
            mask = (mask - low) / (high - low).where(high > low, 1.0)
            masked = model.preprocessing.normalize(pixels[:, :, :rows] * mask[:, :, :rows])
            scores = evidence.target_scores(evidence.scores_of([masked]))
            (logits.grad,) = torch.autograd.grad(-scores.sum(), logits)
            adam.step()
    return logits.detach().softmax(dim=1)


def opticam_map(evidence: Evidence, steps: int = STEPS, rate: float = RATE) -> Tensor:
    """Σ_v α_v ReLU(B_v) with α of `opticam_weights`."""
    return weighted(opticam_weights(evidence, steps, rate), evidence.maps.clamp(min=0))


PERTURBATIONS: dict[str, Rule] = {
    "Opti-CAM": opticam_map,
    "AblationCAM": ablationcam,
    "AblationCAM (absolute)": partial(ablationcam, absolute=True),
    "ScoreCAM": scorecam,
    "ScoreCAM (half-pixel)": partial(scorecam, align_corners=False),
}
