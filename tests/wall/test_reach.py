"""Receptive fields against brute force."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from camwall import CamwallError, Wall, masked_vgg16
from camwall.config import quick
from camwall.wall import needed_rows, tainted

EXAMPLES = 60 if quick() else 400


@st.composite
def layers(draw: st.DrawFn) -> nn.Module:
    """A convolution, pooling or element-wise layer; windows 1 column wide."""
    kind = draw(st.sampled_from(["conv", "max", "average", "relu", "adaptive"]))
    kernel = draw(st.integers(1, 4))
    stride = draw(st.integers(1, 3))
    if kind == "conv":
        dilation = draw(st.integers(1, 3))
        padding = draw(st.one_of(st.integers(0, 4), st.sampled_from(["valid", "same"])))
        if padding == "same":
            stride = 1
        padding = padding if isinstance(padding, str) else (padding, 0)
        mode = draw(st.sampled_from(["zeros", "replicate"]))
        sizes = (kernel, 1), (stride, 1), padding, (dilation, 1)
        return nn.Conv2d(1, 1, *sizes, bias=False, padding_mode=mode)
    padding = draw(st.integers(0, kernel // 2))
    ceil_mode = draw(st.booleans())
    if kind == "max":
        dilation = draw(st.integers(1, 2))
        return nn.MaxPool2d(
            (kernel, 1), (stride, 1), (padding, 0), (dilation, 1), ceil_mode=ceil_mode
        )
    if kind == "average":
        return nn.AvgPool2d((kernel, 1), (stride, 1), (padding, 0), ceil_mode)
    if kind == "adaptive":
        return nn.AdaptiveAvgPool2d((draw(st.integers(1, 9)), None))
    return nn.ReLU()


def linear(layer: nn.Module) -> nn.Module:
    """The layer with each output the plain sum of what its window reads: no value can hide."""
    if isinstance(layer, nn.Conv2d):
        nn.init.ones_(layer.weight)
        return layer
    if isinstance(layer, nn.ReLU):
        return nn.Identity()
    return layer


def reads(stack: list[nn.Module], rows: int, visible: int) -> np.ndarray:
    """Which of ``rows`` input rows change the first ``visible`` output rows, one bump at a time.

    A bump of one row is followed layer by layer as an indicator of all the values it touches.
    """
    touched = torch.eye(rows).view(rows, 1, rows, 1)
    with torch.no_grad():
        for layer in stack:
            touched = (linear(layer)(touched) > 0).float()
    return touched[:, 0, :visible, 0].any(dim=1).numpy()


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(layers(), min_size=1, max_size=5), st.integers(1, 40), st.data())
def test_reachable_rows_are_those_a_bump_shows(
    stack: list[nn.Module], rows: int, data: st.DataObject
) -> None:
    """Row by row, over random stacks of layers, as torch itself runs them."""
    try:
        with torch.no_grad():
            out = nn.Sequential(*stack)(torch.zeros(1, 1, rows, 1)).shape[2]
    except RuntimeError:
        with pytest.raises(CamwallError):
            needed_rows(stack, rows, 1)
        return
    assume(out > 0)
    visible = data.draw(st.integers(1, out))
    expected = reads(stack, rows, visible)
    np.testing.assert_array_equal(needed_rows(nn.Sequential(*stack), rows, visible)[0], expected)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(st.lists(layers(), min_size=1, max_size=4), st.integers(4, 30), st.data())
def test_rows_that_cannot_reach_have_no_gradient(
    stack: list[nn.Module], rows: int, data: st.DataObject
) -> None:
    """With random weights and images, autograd finds exactly 0 outside the reachable rows."""
    image = torch.randn(1, 1, rows, 1, generator=torch.Generator().manual_seed(rows))
    image.requires_grad_()
    try:
        out = nn.Sequential(*stack)(image)
    except RuntimeError:
        assume(False)
    visible = data.draw(st.integers(1, out.shape[2]))
    (gradient,) = torch.autograd.grad(out[:, :, :visible].sum(), image)
    seen = (gradient[0, 0, :, 0] != 0).numpy()
    assert not (seen & ~needed_rows(stack, rows, visible)[0]).any()


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(st.lists(layers(), min_size=1, max_size=4), st.integers(4, 30), st.data())
def test_what_a_nan_taints_are_the_receptive_fields(
    stack: list[nn.Module], rows: int, data: st.DataObject
) -> None:
    """Of any rows that are marked, for each number of output rows that are read."""
    image = torch.randn(1, 1, rows, 1, generator=torch.Generator().manual_seed(rows))
    try:
        with torch.no_grad():
            out = nn.Sequential(*stack)(image).shape[2]
    except RuntimeError:
        assume(False)
    marked = data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    found = tainted(nn.Sequential(*stack), image, torch.tensor(marked)[:, None])
    assert found.shape == (out, 1)
    for visible in range(1, out + 1):
        expected = needed_rows(stack, rows, visible)[0][marked].any()
        assert found[:visible].any() == expected


class SamePadding(nn.Conv2d):
    """As in EfficientNet: padding that follows from the image's size, more of it at the end."""

    def forward(self, images: Tensor) -> Tensor:
        pads: list[int] = []
        for size, kernel, stride in zip(
            reversed(images.shape[2:]),
            reversed(self.kernel_size),
            reversed(self.stride),
            strict=True,
        ):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        padded = nn.functional.pad(images, pads)
        return nn.functional.conv2d(padded, self.weight, self.bias, self.stride)


@pytest.mark.parametrize("rows", [15, 16, 17])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (4, 2), (5, 3)])
def test_a_layer_without_a_rule_is_tried_on_an_example(kernel: int, stride: int, rows: int) -> None:
    """Between layers that have one, its rows are those with a gradient; without one it is refused.

    Its own padding attribute, 0, would tell others.
    """
    torch.manual_seed(rows)
    stack = nn.Sequential(nn.Conv2d(1, 2, 3), SamePadding(2, 2, kernel, stride), nn.MaxPool2d(2))
    image = torch.randn(1, 1, rows, 9, requires_grad=True)
    maps = nn.Sequential(stack[0], stack[1], nn.AvgPool2d(2))(image)  # a maximum hides the others
    for visible in range(1, maps.shape[2] + 1):
        (gradient,) = torch.autograd.grad(maps[:, :, :visible].sum(), image, retain_graph=True)
        needed = needed_rows(stack, rows, visible, image.detach())
        assert len(needed) == len(stack) + 1
        np.testing.assert_array_equal(needed[0], (gradient != 0).any(dim=3)[0, 0].numpy())
        with pytest.raises(CamwallError, match="of a SamePadding are not known"):
            needed_rows(stack, rows, visible)


def test_the_papers_wall_follows_from_its_layers() -> None:
    """Row 4 of the VGG16's 14×14 map depends on image rows 0–169: 54 of 224 rows are hidden."""
    with torch.device("meta"):  # its layers without their weights
        model = masked_vgg16(classes=2)
    assert model.wall == Wall.rows(224, 224, 170)
    assert model.wall.row == 170
    assert int(model.wall.hidden.any(dim=1).sum()) == 54
    assert model.visible_cells.tolist() == [[True] * 14] * 5 + [[False] * 14] * 9
    assert needed_rows(model.features, 224, 5)[0].tolist() == [True] * 170 + [False] * 54
    # By hand, from the last map back: a 3×3 convolution adds a row, a pooling doubles them.
    last = 4
    for layer in reversed(list(model.features)):
        if isinstance(layer, nn.Conv2d):
            last += 1
        elif isinstance(layer, nn.MaxPool2d):
            last = 2 * last + 1
    assert last == 169


def test_nested_stacks_and_gaps() -> None:
    """A stride that jumps over rows leaves them unread."""
    stack = nn.Sequential(nn.Sequential(nn.Conv2d(1, 1, 1, stride=3)), nn.Sequential(nn.ReLU()))
    assert needed_rows(stack, 8, 2)[0].tolist() == [True, False, False, True] + [False] * 4


@pytest.mark.parametrize(
    ("stack", "match"),
    [
        (nn.Sequential(nn.Linear(2, 2)), "receptive fields of a Linear are not known"),
        (nn.Sequential(nn.LSTM(2, 2)), "wall the network with build_wall"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), "with padding_mode='zeros'"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), "with padding_mode='zeros'"),
        (nn.Conv2d(1, 1, 9), "4 rows are too few for Conv2d"),
    ],
)
def test_layers_whose_rows_are_not_known_are_refused(stack: nn.Module, match: str) -> None:
    """One clear line; also for a subclass, which may read other rows than its parent."""
    with pytest.raises(CamwallError, match=match):
        needed_rows(stack, 4, 1)


def test_a_subclass_is_not_taken_for_its_parent() -> None:
    """EfficientNet's same-padding convolution pads in a way its attributes do not tell."""

    class Same(nn.Conv2d):
        pass

    with pytest.raises(CamwallError, match="of a Same are not known"):
        needed_rows(Same(1, 1, 3), 8, 1)


def test_a_normalisation_by_the_batch_reads_every_row() -> None:
    """In evaluation mode too, where it keeps no running statistics."""
    stack = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False))
    with pytest.raises(CamwallError, match="of a BatchNorm2d are not known"):
        needed_rows(stack, 8, 1)
    assert needed_rows(stack, 8, 1, torch.rand(2, 1, 8, 8))[0].all()


@pytest.mark.parametrize("visible", [0, 5, -1])
def test_visible_rows_that_the_map_does_not_have(visible: int) -> None:
    """The number of rows of the last map is said."""
    with pytest.raises(CamwallError, match="the last map has 4 rows"):
        needed_rows(nn.MaxPool2d(2), 8, visible)
