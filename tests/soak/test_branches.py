"""Walls with holes that open on some inputs alone: those that are found, and those that none is."""

from collections.abc import Callable
from random import Random

import pytest
import torch
from torch import Tensor

from camwall import BlindnessError, CamwallError, WalledModel, certify
from tests.helpers.networks import CLASSES
from tests.wall.test_holes import apart, become, masked, whole

#: Given a model and images in [0, 1], what is added to a score of each: [N].
Branch = Callable[[WalledModel, Tensor], Tensor]


def hidden(model: WalledModel, x: Tensor) -> Tensor:
    return x[..., model.wall.hidden].flatten(1)


def visible(model: WalledModel, x: Tensor) -> Tensor:
    return x[..., ~model.wall.hidden].flatten(1)


def pixel(model: WalledModel, x: Tensor, number: int = 0) -> Tensor:
    return x[:, 0, *model.wall.hidden.nonzero()[37 * number % int(model.wall.hidden.sum())]]


def within(values: Tensor, low: float, high: float) -> Tensor:
    return ((values > low) & (values < high)).float()


def mean(low: float, high: float) -> Branch:
    return lambda m, x: within(hidden(m, x).mean(1), low, high)


def spread(low: float, high: float) -> Branch:
    return lambda m, x: within(hidden(m, x).std(1), low, high)


def near(value: float) -> Branch:
    return lambda m, x: ((hidden(m, x) - value).abs().amax(1) < 0.01).float()


def seeing(low: float, high: float, of: Callable[[Tensor], Tensor] = lambda v: v.mean(1)) -> Branch:
    """A hole where something of the visible half lies in a window."""
    return lambda m, x: pixel(m, x) * within(of(visible(m, x)), low, high)


def when(holds: Callable[[Tensor], bool]) -> Branch:
    """A hole that is open for some batches and modes."""
    return lambda m, x: (pixel(m, x) > 0.1).float() * holds(x)


def reddish(values: Tensor) -> Tensor:
    red, green = values.unflatten(1, (3, -1))[:, 0], values.unflatten(1, (3, -1))[:, 1]
    return (red - green).mean(1)


FOUND: dict[str, Branch] = {
    "hidden pixels all alike": lambda m, x: (hidden(m, x).std(1) < 1e-6).float(),
    "hidden pixels black": near(0.0),
    "hidden pixels mid-grey": near(0.5),
    "hidden pixels white": near(1.0),
    "hidden mean low": mean(-1e9, 0.1),
    "hidden mean in a tenth": mean(0.25, 0.36),
    "hidden mean in another": mean(0.65, 0.76),
    "hidden mean high": mean(0.9, 1e9),
    "hidden contrast low": spread(-1, 0.2),
    "hidden contrast high": spread(0.5, 1e9),
    "two pixels alike": lambda m, x: (pixel(m, x, 1) == pixel(m, x, 5)).float(),
    "two pixels in order": lambda m, x: (pixel(m, x, 1) > pixel(m, x, 5)).float(),
    "two pixels opposite": lambda m, x: (
        within(pixel(m, x, 1), 0.5, 1e9) * within(pixel(m, x, 5), -1e9, -0.5)
    ),
    "a pixel above 2000": lambda m, x: (pixel(m, x).abs() > 2000).float(),
    "a pixel above 10⁵": lambda m, x: (pixel(m, x).abs() > 1e5).float(),
    "NaN where a pixel is 0": lambda m, x: torch.where(
        pixel(m, m.preprocessing.normalize(x)) == 0, torch.nan, 0.0
    ),
    "a steep step": lambda m, x: torch.sigmoid(1e4 * (pixel(m, x) - 0.77)),
    "a gradient that vanishes": lambda m, x: torch.exp(-1e4 * pixel(m, x).abs()),
    "bright visible half": seeing(0.8, 1e9),
    "white visible half": seeing(0.99, 1e9),
    "dark visible half": seeing(-1e9, 0.2),
    "black visible half": seeing(-1e9, 0.01),
    "grey visible half": seeing(0.45, 0.55),
    "reddish visible half": seeing(0.3, 1e9, reddish),
    "visible contrast high": seeing(0.4, 1e9, lambda v: v.std(1)),
    "visible contrast low": seeing(-1, 0.1, lambda v: v.std(1)),
    "batches of one": when(lambda x: len(x) == 1),
    "batches of three": when(lambda x: len(x) == 3),
    "batches of four or more": when(lambda x: len(x) > 3),
    "without gradients": when(lambda x: not torch.is_grad_enabled()),
    "with gradients": when(lambda x: torch.is_grad_enabled()),
}
#: What no finite number of probes excludes, or what is another use than the one that was certified.
ESCAPE: dict[str, Branch] = {
    "a pixel in a hundredth": lambda m, x: within(pixel(m, x), 0.2295, 0.2395),
    "two pixels, each in a window": lambda m, x: (
        within(pixel(m, x, 1), 0.18, 0.22) * within(pixel(m, x, 5), 0.68, 0.72)
    ),
    "hidden mean in a fiftieth": mean(0.64, 0.66),
    "a hidden pixel that is NaN": lambda m, x: pixel(m, x).isnan().float(),
    "a hidden pixel that is infinite": lambda m, x: pixel(m, x).isinf().float(),
    "a pixel above 10⁹": lambda m, x: (pixel(m, x).abs() > 1e9).float(),
    "visible mean in a fiftieth": seeing(0.64, 0.66),
    "batches of eight or more": when(lambda x: len(x) > 7),
    "inference mode": when(lambda x: torch.is_inference_mode_enabled()),
    "autocast": when(lambda x: torch.is_autocast_enabled("cpu")),
}


def holed(branch: Branch, number: int) -> WalledModel:
    """One of three kinds of model whose scores a branch reaches."""
    model = (whole, apart, masked)[number % 3](Random(number)).eval()
    own, index = type(model), number % CLASSES

    def forward(self: WalledModel, images: Tensor) -> Tensor:
        scores = own.forward(self, images)
        value = branch(self, self.preprocessing.denormalize(images))
        return scores + torch.eye(CLASSES).to(scores)[index] * value[:, None].to(scores)

    become(model, forward=forward)
    return model


@pytest.mark.parametrize("number", range(len(FOUND)), ids=FOUND)
def test_a_hole_that_opens_on_some_inputs_is_found(number: int, record_property: Callable) -> None:
    """Of networks that branch on what the probes show."""
    model = holed(list(FOUND.values())[number], number)
    with pytest.raises(CamwallError) as caught:
        certify(model)
    assert isinstance(caught.value, BlindnessError) or "NaN" in str(caught.value)
    record_property("branching holes found", 1)


@pytest.mark.parametrize("number", range(len(ESCAPE)), ids=ESCAPE)
def test_a_hole_that_no_probe_meets_is_not_said_to_be_proved(number: int) -> None:
    """It escapes, and the certificate claims no more than its probes: «nothing is proved»."""
    model = holed(list(ESCAPE.values())[number], number)
    assert str(certify(model)).count("nothing is proved") == 1
