"""For the test suite of a saliency method: does it look behind a wall?

A wall that a network cannot see past is a ground truth that a map can be held against. Here it is
small: a random network, certified, with no weights to load and nothing to download.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camwall.check import check
from camwall.check.verdicts import CAUSES
from camwall.errors import CamwallError, check_count
from camwall.methods import AnyMethod, Mechanism, chosen, explain
from camwall.models import MaskedModel, Preprocessing, WalledModel
from camwall.models.walled import require_walled
from camwall.wall import certify
from camwall.wall.certify import in_words

#: Images are squares of so many pixels.
SIZE = 32
_CHANNELS, _CLASSES, _CELLS, _VISIBLE = 12, 5, 8, 4

_WHY = {
    Mechanism.SIGNED: "it has one weight for a whole channel, and the channels' maps behind the "
    "wall hang on what is hidden there",
    Mechanism.ACTIVATIONS: "it is made of the maps alone, which hang on what is hidden there",
    Mechanism.GUIDED_CAM: "it is multiplied with a CAM, which has one weight for a whole channel",
    Mechanism.PIXEL_WEIGHED: "its samples are weighed by all pixels, hidden ones among them",
    Mechanism.OWN: "the usual causes are one weight for a whole channel, as GradCAM's, and maps "
    "that are shown without a gradient, as EigenCAM's",
}
_WHY[Mechanism.NON_NEGATIVE] = _WHY[Mechanism.SIGNED]


def walled_model(seed: int = 0) -> MaskedModel:
    """A small random network that is certified to be blind to the lower part of its images.

    Three convolutions to 12 maps of 8×8, a dense layer whose weights are 0 on the lower half of the
    maps, as in the paper's VGG16, and 5 classes. Its modules are torch's own, each called once, so
    that a package with hooks works on it: hook ``model.features[-1]`` or ``model.target_layer``.

    Examples
    --------
    >>> walled_model().wall
    Wall(rows 23–31 of 32×32)
    """
    check_count("seed", seed, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for before, after in ((3, 8), (8, _CHANNELS), (_CHANNELS, _CHANNELS)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        features = nn.Sequential(*layers[:-1])
        cells = _CHANNELS * _CELLS**2
        head = nn.Sequential(nn.Flatten(), nn.Linear(cells, 32), nn.ReLU(), nn.Linear(32, _CLASSES))
        for layer in (*features, *head):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    plain = Preprocessing((0.5,) * 3, (0.25,) * 3, None, SIZE)
    shape = _CHANNELS, _CELLS, _CELLS
    model = MaskedModel(features, head, shape, _VISIBLE, plain).eval()
    certify(model, probes=1, repaints=4)
    return model


def some_images(model: WalledModel, count: int = 4, seed: int = 0) -> Tensor:
    """Smooth random images for a model, [count, C, H, W]."""
    require_walled(model)
    count, seed = check_count("count", count), check_count("seed", seed, 0)
    channels = len(model.preprocessing.mean)
    gen = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 6, 6, generator=gen, device="cpu")
    pixels = F.interpolate(coarse, model.wall.shape, mode="bicubic").clamp(0, 1)
    return model.preprocessing.normalize(pixels).to(next(model.parameters()))


def assert_blind(
    method: AnyMethod, model: WalledModel | None = None, *, points: bool = True
) -> None:
    """Fail if a saliency method looks behind a wall, or points there.

    Pixels that no score can see are repainted, and the method is asked for its map again: that of
    one that explains the network does not move, and is 0 there.

    Parameters
    ----------
    method : str, Method or function
        A name in `camwall.METHODS`, or a function (model, images [N, C, H, W], target [N]) → maps
        [N, H, W] at the images' size, as a tensor or an array.
    model : WalledModel, optional
        `walled_model` if not given; `camwall.build_wall` makes one of any network.
    points : bool
        Whether a map that no repaint moves has to be 0 behind the wall either, but for what
        bilinear upsampling carries across.

    Raises
    ------
    AssertionError
        It says what leaked, why, and what to use instead.
    CamwallError
        Maps of another shape, with NaN, or all of them zero everywhere; a function that draws from
        a source of its own.

    Examples
    --------
    >>> assert_blind("HiResCAM")
    >>> assert_blind("GradCAM")
    Traceback (most recent call last):
    AssertionError: GradCAM sees through the wall: ...
    """
    __tracebackhide__ = True
    model = walled_model() if model is None else model
    require_walled(model)
    images = some_images(model)
    report = check(model, images, [method], progress=False)
    verdict = report.verdicts.iloc[0]
    (asked,) = chosen(method)
    if verdict["verdict"].startswith("blind"):
        if report.records["empty"].all():
            raise CamwallError(
                f"the maps of {asked.name} are zero everywhere, which says nothing of it: give "
                "assert_blind a model on which it shows something"
            )
        return
    looks = verdict["moved"] > 0
    if not looks and not points:
        return
    record = report.records.sort_values("response" if looks else "leak").iloc[-1]
    shown = explain(model, images, method)[int(record["image"])].cpu()
    behind = (shown != 0) & model.wall.hidden
    leak = f"{100 * record['leak']:.1f} % of the map's norm lies behind the wall"
    where = f" ({in_words(model.wall, behind)} are not 0)" if behind.any() else ""
    if looks:
        does = verdict["verdict"] + " the wall" * (verdict["verdict"] == "sees through")
        raise AssertionError(
            f"{asked.name} {does}: "
            f"repainting pixels that no score can see moves its map by "
            f"{100 * record['response']:.1f} % of its norm ({record['repaint']}, image "
            f"{record['image']}); {leak}{where}. Why: {_WHY[asked.mechanism]}. Instead: the "
            "gradient at each position, as HiResCAM and LayerCAM have it, is 0 behind a wall"
        )
    raise AssertionError(
        f"{asked.name} points there without looking: no repaint of the pixels that no score can "
        f"see moves its map, and {leak}{where}. Why: {verdict['cause']}: "
        f"{CAUSES[verdict['cause']]}. Instead: let the map be 0 where its gradient is, as "
        "HiResCAM's is; or allow it by points=False"
    )
