"""How a network is trained: one frozen dataclass, the paper's values as its defaults."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from camwall.errors import CamwallError

PRECISIONS = ("auto", "no", "fp16", "bf16")


def _int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return _int(value) or (isinstance(value, float) and math.isfinite(value))


def _rising(value: Any) -> bool:
    pair = isinstance(value, tuple | list) and len(value) == 2 and all(map(_number, value))
    return pair and 0 < value[0] <= value[1]


#: What fields must be, and whether a value is that.
_RULES: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("epochs batch lr_step", "an int of at least 1", lambda v: _int(v) and v >= 1),
    ("seed", "an int from 0 to 2^63 - 1", lambda v: _int(v) and 0 <= v < 2**63),
    ("micro_batch", "None or an int of at least 1", lambda v: v is None or (_int(v) and v >= 1)),
    ("lr", "a number above 0", lambda v: _number(v) and v > 0),
    ("momentum dropout", "a number in [0, 1)", lambda v: _number(v) and 0 <= v < 1),
    ("lr_gamma", "a number in (0, 1]", lambda v: _number(v) and 0 < v <= 1),
    ("weight_decay", "a number, not negative", lambda v: _number(v) and v >= 0),
    ("crop_area", "two numbers that rise in (0, 1]", lambda v: _rising(v) and v[1] <= 1),
    ("crop_aspect", "two numbers that rise from above 0", lambda v: _rising(v)),
    ("flip visible_only channels_last compile", "True or False", lambda v: isinstance(v, bool)),
    ("precision", f"one of {', '.join(PRECISIONS)}", lambda v: v in PRECISIONS),
)


@dataclass(frozen=True)
class Recipe:
    """Stochastic gradient descent as the paper's VGG16 were trained.

    Parameters
    ----------
    epochs : int
        Times that the training images are gone through.
    batch : int
        Images for one step of the optimiser, over all processes together. The images of an epoch
        that do not fill a last batch are left out of it; each epoch has another order.
    lr, momentum, weight_decay : float
        Of SGD.
    lr_step, lr_gamma : int, float
        The learning rate is multiplied by ``lr_gamma`` every ``lr_step`` epochs.
    dropout : float
        The rate of every dropout layer of the head.
    crop_area, crop_aspect : (float, float)
        Ranges of the random resized crop's share of the image's area and of its aspect ratio;
        (1, 1) for both takes each image whole.
    flip : bool
        Mirror every other image, at random.
    seed : int
        Of the order of the images, their crops and the dropout.
    precision : {"auto", "no", "fp16", "bf16"}
        Mixed precision; ``"auto"`` is bf16 on a GPU that has it, fp16 on any other, none on a CPU.
    visible_only : bool
        Train the part of the network that can see, and expand it at the end (see
        `camwall.models.visible_part`), instead of zeroing the weights behind the wall after each
        step: the same path at a lower cost.
    micro_batch : int or None
        Images that one process takes at once; the gradients of a batch are accumulated. None: all
        of a process's share of the batch.
    channels_last, compile : bool
        The memory format of the convolutions, faster on most GPUs; `torch.compile`.

    Raises
    ------
    CamwallError
        For a value that cannot be.
    """

    epochs: int = 90
    batch: int = 256
    lr: float = 0.03
    momentum: float = 0.9
    weight_decay: float = 1e-4
    lr_step: int = 30
    lr_gamma: float = 0.1
    dropout: float = 0.5
    crop_area: tuple[float, float] = (0.1, 1.0)
    crop_aspect: tuple[float, float] = (0.8, 1.25)
    flip: bool = True
    seed: int = 0
    precision: str = "auto"
    visible_only: bool = True
    micro_batch: int | None = None
    channels_last: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        for names, what, holds in _RULES:
            for name in names.split():
                if not holds(getattr(self, name)):
                    raise CamwallError(f"{name} must be {what}, not {getattr(self, name)!r}")
