"""The networks of the paper: its VGG16, the same for small images, and the simple CNN."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models._meta import _IMAGENET_CATEGORIES
from torchvision.models.vgg import cfgs, make_layers

from camwall.errors import CamwallError, check_count, check_number, extra
from camwall.models.masked import MaskedModel
from camwall.models.preprocessing import Preprocessing

#: Rows of the 14×14 last map that the paper's masked network reads.
VISIBLE_MAP_ROWS = 5
MAP_SIZE = 14
SMALL_SIZE = 28


def _at_least_one(**counts: int) -> None:
    for name, value in counts.items():
        check_count(name, value)


def _vgg(
    trunk: list[nn.Module],
    sizes: tuple[int, ...],
    draw: Callable[[Tensor], object],
    preprocessing: Preprocessing,
    masked: bool,
    made_by: dict[str, Any],
) -> MaskedModel:
    """A masked network with dense layers of these sizes, ReLU and dropout between them.

    Biases are 0, and ``draw`` fills the weights of one layer after the other.
    """
    side = MAP_SIZE * 2 ** sum(isinstance(layer, nn.MaxPool2d) for layer in trunk)
    taken = trunk[0].in_channels, side, side
    made = len(preprocessing.mean), *preprocessing.size
    if made != taken:
        says = ("×".join(map(str, shape)) for shape in (taken, made))
        raise CamwallError(
            "this network takes images of {}, the preprocessing makes {}".format(*says)
        )
    head: list[nn.Module] = [nn.Flatten()]
    filters = sizes[0]
    for before, after in pairwise([filters * MAP_SIZE**2, *sizes[1:]]):
        head += [nn.Linear(before, after), nn.ReLU(inplace=True), nn.Dropout()]
    shape = filters, MAP_SIZE, MAP_SIZE
    layers = nn.Sequential(*trunk), nn.Sequential(*head[:-2])
    model = MaskedModel(*layers, shape, VISIBLE_MAP_ROWS, preprocessing, masked=masked)
    model.made_by = made_by
    for layer in [*model.features, *model.head]:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            draw(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    model.apply_wall()
    return model


def masked_vgg16(
    *, masked: bool = True, classes: int = 1000, preprocessing: Preprocessing | None = None
) -> MaskedModel:
    """The paper's VGG16, or its baseline, with random weights.

    torchvision's ``vgg16`` without the last max pooling and without the average pooling; the last
    convolution has 256 filters, so that the first dense layer reads 256·14·14 cells. In the masked
    network its weights are 0 on the bottom 9 of the 14 rows.

    Weights are drawn as torchvision's VGG has them, from torch's global generator:
    `torch.manual_seed` first for the same ones again, `load_checkpoint` for trained ones.

    Parameters
    ----------
    masked : bool
        ``False`` gives the baseline, which sees the whole image.
    classes : int
    preprocessing : Preprocessing, optional
        To 224×224; ImageNet's by default.
    """
    _at_least_one(classes=classes)

    def draw(weight: Tensor) -> None:
        if weight.ndim == 4:
            nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
        else:
            nn.init.normal_(weight, 0, 0.01)

    last = nn.Conv2d(512, 256, kernel_size=3, padding=1)
    model = _vgg(
        [*make_layers(cfgs["D"])[:28], last, nn.ReLU(inplace=True)],
        (256, 4096, 4096, classes),
        draw,
        preprocessing or Preprocessing(),
        masked,
        {"name": "masked_vgg16", "classes": classes},
    )
    model.class_names = tuple(_IMAGENET_CATEGORIES) if classes == 1000 else None
    return model


def small_vgg(
    *,
    masked: bool = True,
    classes: int = 10,
    channels: int = 1,
    preprocessing: Preprocessing | None = None,
) -> MaskedModel:
    """A masked VGG for images of 28×28 pixels, or its baseline, with random weights.

    A 3×3 convolution with 16 filters, a max pooling, two with 32: the last map is 14×14, as in the
    paper's VGG16. The head has two dense layers of 128 units with dropout and one for the classes;
    the first is masked on the bottom 9 of the 14 map rows. He initialisation from torch's global
    generator.

    Parameters
    ----------
    masked : bool
        ``False`` gives the baseline, which sees the whole image.
    classes, channels : int
    preprocessing : Preprocessing, optional
        Its crop must be 28; by default pixels in [0, 1] are taken as they are.
    """
    _at_least_one(classes=classes, channels=channels)
    width, plain = 16, Preprocessing((0.0,) * channels, (1.0,) * channels, None, SMALL_SIZE)
    trunk: list[nn.Module] = []
    for before, after in pairwise([channels, width, 2 * width, 2 * width]):
        trunk += [nn.MaxPool2d(2)] if len(trunk) == 2 else []
        trunk += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
    return _vgg(
        trunk,
        (2 * width, 128, 128, classes),
        lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
        preprocessing or plain,
        masked,
        {"name": "small_vgg", "classes": classes, "channels": channels},
    )


def simple_cnn(
    filters: int = 32,
    kernel: int = 3,
    image_size: int = 30,
    visible_rows: int = 7,
    tau: float = 0.1,
    seed: int = 0,
    *,
    pool: int = 2,
    classes: int = 1,
) -> MaskedModel:
    """The paper's simple CNN at initialisation, for square images of one channel.

    One convolution, ReLU, max pooling, one dense layer, no bias anywhere. Maps are the activations
    before the pooling; the pooling belongs to the head, so that the gradient at the maps is routed
    through it. Every parameter is N(0, τ²), independent.

    Parameters
    ----------
    filters, kernel : int
        V, of ``kernel`` × ``kernel`` pixels.
    image_size : int
        Rows and columns of the image.
    visible_rows : int
        Rows of pooled cells that the head reads; the rest of W is 0. The defaults hide the bottom
        half of a 14 × 14 pooled map, as the paper's theorem does.
    pool : int
        Side and stride of the max pooling.
    classes : int
        Scores; the theorem speaks of one.

    Returns
    -------
    MaskedModel
        Its ``setting`` has the sizes in the words of :mod:`camwall.theory`.
    """
    _at_least_one(filters=filters, classes=classes)
    tau, seed = check_number("tau", tau, above=0), check_count("seed", seed, 0)
    with extra("theory"):
        from camwall.theory import Setting

    setting = Setting(image_size, image_size, visible_rows, kernel, pool)
    model = MaskedModel(
        nn.Sequential(nn.Conv2d(1, filters, kernel, bias=False), nn.ReLU()),
        nn.Sequential(
            nn.MaxPool2d(pool), nn.Flatten(), nn.Linear(filters * setting.cells, classes, False)
        ),
        (filters, *setting.map_shape),
        setting.visible_map_rows,
        Preprocessing(mean=(0.0,), std=(1.0,), resize=None, crop=image_size),
    )
    model.setting = setting
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            drawn = torch.empty(parameter.shape, device="cpu")
            parameter.copy_(drawn.normal_(0, tau, generator=generator))
    model.apply_wall()
    return model.eval()


def fit_simple(model: MaskedModel, images: Tensor, labels: Tensor, *, epochs: int = 15) -> None:
    """Train in place by Adam, on images [N, 1, H, H] and labels [N]; each step keeps the wall.

    In batches of 64, in the same order each time, and on one thread: several add up gradients in
    another order, and some steps make another network of it.
    """
    if len(images) != len(labels):
        raise CamwallError(f"{len(images)} images need {len(images)} labels, not {len(labels)}")
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(epochs):
            for chosen in torch.randperm(len(images), generator=generator).split(64):
                loss = F.cross_entropy(model(images[chosen]), labels[chosen])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                model.apply_wall()
    finally:
        torch.set_num_threads(threads)
