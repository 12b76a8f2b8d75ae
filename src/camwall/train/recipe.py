"""How a network is trained: one frozen dataclass, the paper's values as its defaults."""

import math
from dataclasses import dataclass, fields

from camwall.errors import CamwallError

#: What a field of each type takes: an int stands for a float.
_KINDS: dict[object, tuple[type, ...]] = {
    int: (int,),
    float: (int, float),
    bool: (bool,),
    str: (str,),
    int | None: (int, type(None)),
    tuple[float, float]: (tuple, list),
}
PRECISIONS = ("auto", "no", "fp16", "bf16")


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
        for field in fields(self):
            value, kind = getattr(self, field.name), _KINDS[field.type]
            if not isinstance(value, kind) or (isinstance(value, bool) and bool not in kind):
                name = getattr(field.type, "__name__", field.type)
                raise CamwallError(f"{field.name} must be of type {name}, not {value!r}")
            numbers = value if isinstance(value, tuple | list) else (value,)
            if field.type == tuple[float, float] and not (
                len(numbers) == 2 and all(type(number) in (int, float) for number in numbers)
            ):
                raise CamwallError(f"{field.name} must be two numbers, not {value!r}")
            if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
                raise CamwallError(f"{field.name} must be finite, not {value!r}")
        low, high = self.crop_area
        thin, wide = self.crop_aspect
        rules = {
            f"epochs must be at least 1, not {self.epochs}": self.epochs >= 1,
            f"seed must be 0 to 2^63 - 1, not {self.seed}": 0 <= self.seed < 2**63,
            f"batch must be at least 1, not {self.batch}": self.batch >= 1,
            f"lr must be positive, not {self.lr}": self.lr > 0,
            f"momentum must be in [0, 1), not {self.momentum}": 0 <= self.momentum < 1,
            f"weight_decay cannot be negative, it is {self.weight_decay}": self.weight_decay >= 0,
            f"lr_step must be at least 1, not {self.lr_step}": self.lr_step >= 1,
            f"lr_gamma must be in (0, 1], not {self.lr_gamma}": 0 < self.lr_gamma <= 1,
            f"dropout must be in [0, 1), not {self.dropout}": 0 <= self.dropout < 1,
            f"crop_area must rise within (0, 1], not {self.crop_area}": 0 < low <= high <= 1,
            f"crop_aspect must rise from above 0, not {self.crop_aspect}": 0 < thin <= wide,
            f"precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}": (
                self.precision in PRECISIONS
            ),
            f"micro_batch must be at least 1, not {self.micro_batch}": (
                self.micro_batch is None or self.micro_batch >= 1
            ),
        }
        for message, holds in rules.items():
            if not holds:
                raise CamwallError(message)
