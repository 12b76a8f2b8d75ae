"""The methods that change something and look at the score: AblationCAM and ScoreCAM."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camwall.methods.cams import weighted
from camwall.methods.evidence import Evidence
from camwall.methods.registry import Mechanism, Method
from camwall.models.masked import linear

# ---------------------------------------------------------------------------------------------
# AblationCAM

#: Layers that act on each channel apart and are linear, in evaluation mode.
_CHANNELWISE = (
    nn.Identity,
    nn.Dropout,
    nn.Dropout2d,
    nn.AdaptiveAvgPool2d,
    nn.AvgPool2d,
    nn.Flatten,
)


def _layers(head: nn.Module) -> Iterator[nn.Module]:
    if isinstance(head, nn.Sequential) and type(head).forward is nn.Sequential.forward:
        for layer in head:
            yield from _layers(layer)
    else:
        yield head


def _unit(dense: nn.Linear, index: int) -> nn.Linear:
    """The layer with one output alone."""
    one = slice(index, index + 1)
    return linear(dense.weight[one], None if dense.bias is None else dense.bias[one])


def ablated_scores(evidence: Evidence, index: int) -> Tensor:
    """The target's score with each channel of image ``index`` set to 0 in turn: [V].

    Where the head starts with a linear layer on (pooled, flattened) maps, its output is a sum over
    channels: W·B = Σ_v W_v·B_v. One product gives every term, and the layer's output without
    channel v is the whole less that term; only what follows the layer runs V times. For any other
    head the ablated maps go through it in chunks.
    """
    maps = evidence.maps[index : index + 1]
    unit = int(evidence.target[index])
    layers = list(_layers(evidence.chain or nn.Identity()))
    start = next((i for i, layer in enumerate(layers) if type(layer) not in _CHANNELWISE), None)
    if start is None:
        return _ablated_by_copies(evidence, index)
    first, rest = layers[start], layers[start + 1 :]
    cells = nn.Sequential(*layers[:start])(evidence.model.read(maps))
    if type(first) is not nn.Linear or cells.ndim != 2:
        return _ablated_by_copies(evidence, index)
    # Of the last layer's outputs only the target's is wanted.
    if not rest:
        first, unit = _unit(first, unit), 0
    elif type(last := rest[-1]) is nn.Linear:
        rest[-1], unit = _unit(last, unit), 0
    channels, weight = maps.shape[1], first.weight
    terms = torch.einsum(
        "vc,uvc->vu", cells.reshape(channels, -1), weight.unflatten(1, (channels, -1))
    )
    whole = terms.sum(dim=0) if first.bias is None else terms.sum(dim=0) + first.bias
    return nn.Sequential(*rest)(whole - terms)[:, unit]


def _ablated_by_copies(evidence: Evidence, index: int) -> Tensor:
    maps, scores = evidence.maps[index : index + 1], []
    for channels in torch.arange(maps.shape[1], device=maps.device).split(evidence.chunk):
        copies = maps.repeat(len(channels), 1, 1, 1)
        copies[torch.arange(len(channels)), channels] = 0
        scores.append(evidence.target_scores(evidence.scores_at(copies, index), index))
    return torch.cat(scores)


def _drops(evidence: Evidence) -> tuple[Tensor, Tensor]:
    """Score and drop of it by each channel's ablation: [N, 1], [N, V]."""
    with torch.set_grad_enabled(evidence.differentiable):
        score = evidence.target_scores(evidence.scores)[:, None]
        ablated = evidence.once_for_all(
            "ablated scores",
            lambda: torch.stack([ablated_scores(evidence, i) for i in range(len(evidence.images))]),
        )
        return score, score - ablated


def _share(drops: Tensor, score: Tensor) -> Tensor:
    """``drops / score``, 0 for 0/0: a channel that takes nothing away has no weight."""
    return drops / score.where((score != 0) | (drops != 0), 1.0)


def ablationcam(evidence: Evidence) -> Tensor:
    """α_v = (y − y_v) / y, with y_v the score without channel v; 0 where nothing falls from 0."""
    score, drops = _drops(evidence)
    return weighted(_share(drops, score), evidence.maps)


def ablationcam_absolute(evidence: Evidence) -> Tensor:
    """α_v = (y − y_v) / |y|: a channel that raises the score has a positive weight."""
    score, drops = _drops(evidence)
    return weighted(_share(drops, score.abs()), evidence.maps)


# ---------------------------------------------------------------------------------------------
# ScoreCAM

#: Chunks of perturbed images whose maps go through the head together.
HEAD_CHUNKS = 32


def masked_scores(evidence: Evidence, index: int, *, align_corners: bool) -> Tensor:
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
        masks = F.interpolate(
            maps[channels, None],
            image.shape[2:],
            mode="bilinear",
            align_corners=align_corners,
        )
        low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
        masks = (masks[:, :, :rows] - low) / (high - low + 1e-8)
        return image[:, :, :rows] * masks

    if not spread.all():
        black = torch.zeros_like(image)[:, :, :rows]
        scores[~spread] = evidence.target_scores(evidence.scores_of([black]), index)
    # The head's weights are many and are read once for a whole group of chunks.
    for group in spread.nonzero()[:, 0].split(HEAD_CHUNKS * evidence.chunk):
        chunks = (masked(channels) for channels in group.split(evidence.chunk))
        scores[group] = evidence.target_scores(evidence.scores_of(chunks), index)
    return scores


def _scorecam(evidence: Evidence, *, align_corners: bool) -> Tensor:
    with torch.no_grad():
        scores = torch.stack(
            [
                masked_scores(evidence, index, align_corners=align_corners)
                for index in range(len(evidence.images))
            ]
        )
    return weighted(scores.softmax(dim=1), evidence.maps)


def scorecam(evidence: Evidence) -> Tensor:
    """α = softmax over channels of the masked images' scores; the weights are constants."""
    return _scorecam(evidence, align_corners=True)


def scorecam_half_pixel(evidence: Evidence) -> Tensor:
    """ScoreCAM with its masks resized as the saliency map is, with half-pixel centres."""
    return _scorecam(evidence, align_corners=False)


PERTURBATIONS = (
    Method(
        name="AblationCAM",
        weights="the share of the score that goes when the channel is set to 0",
        mechanism=Mechanism.SIGNED,
        sees_through=True,
        reference="desai2020ablationcam",
        raw=ablationcam,
        package="AblationCAM",
        # 0 in our engine and in the paper; grad-cam's AblationLayer writes 0 only if the least
        # activation of all the image's channels is 0.
        departs="divides by the score, so that a negative score turns every sign; on maps whose "
        "least activation is not exactly 0 (after SiLU or GELU) grad-cam, unlike paper and us, "
        "replaces a channel not by 0 but by min − 10⁷, the next of its batch of 32 by min − 2·10⁷, "
        "and so on",
    ),
    Method(
        name="AblationCAM (absolute)",
        weights="the fall of the score when the channel is set to 0, over the score's size",
        mechanism=Mechanism.SIGNED,
        sees_through=True,
        reference="desai2020ablationcam",
        raw=ablationcam_absolute,
        variant_of="AblationCAM",
    ),
    Method(
        name="ScoreCAM",
        weights="the softmax over channels of the score of the image masked by the channel",
        mechanism=Mechanism.NON_NEGATIVE,
        sees_through=True,
        reference="wang2020scorecam",
        raw=scorecam,
        package="ScoreCAM",
        departs="resizes the masks with aligned corners, unlike the map",
    ),
    Method(
        name="ScoreCAM (half-pixel)",
        weights="as ScoreCAM, with masks resized like the saliency map",
        mechanism=Mechanism.NON_NEGATIVE,
        sees_through=True,
        reference="wang2020scorecam",
        raw=scorecam_half_pixel,
        variant_of="ScoreCAM",
    ),
)
