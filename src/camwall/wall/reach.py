"""Which image rows can reach rows of a map: receptive fields, and tainting."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camwall.as_found import evaluating, unhooked
from camwall.errors import CamwallError

#: Layers that work on each pixel alone, in evaluation mode: a row reads itself.
ELEMENTWISE = (
    nn.Identity,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Hardswish,
    nn.Sigmoid,
    nn.Tanh,
    nn.BatchNorm2d,
    nn.Dropout,
    nn.Dropout2d,
)
WINDOWS = nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d


def leaves(layers: nn.Module | Iterable[nn.Module]) -> Iterator[nn.Module]:
    """The layers of a stack in the order they run; one that is used twice comes twice."""
    # A subclass of Sequential that runs its layers in a way of its own is one layer.
    if isinstance(layers, nn.Module) and type(layers).forward is not nn.Sequential.forward:
        yield layers
        return
    for layer in layers:  # type: ignore[union-attr]
        yield from leaves(layer)


def known(layer: nn.Module) -> bool:
    """Whether the rows that a layer reads follow from its sizes: it need not be tried."""
    # Exact types: a subclass may pad or read otherwise (EfficientNet's same-padding convolutions).
    plain = getattr(layer, "padding_mode", "zeros") in ("zeros", "replicate") and unhooked(layer)
    # Without running statistics a normalisation reads all of its batch, in evaluation mode too.
    own = not isinstance(layer, nn.BatchNorm2d) or layer.running_mean is not None
    return type(layer) in (*ELEMENTWISE, *WINDOWS) and plain and own


def cropped_alike(layer: nn.Module) -> bool:
    """Whether a layer gives the rows that are whole in a crop as it gives them of all rows.

    Of an input of another height adaptive poolings make other windows, and nobody knows what a
    layer without a rule does.
    """
    return known(layer) and not isinstance(layer, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d)


def _first(value: int | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else value[0]


def _reads(layer: nn.Module, rows: int) -> Tensor:
    """Which input rows each output row of a known layer reads: bool [rows, output rows].

    Each row is followed as an indicator of its own, one column wide, through the layer's window.
    """
    unit = torch.eye(rows, device="cpu").view(rows, 1, rows, 1)
    if isinstance(layer, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        height = _first(layer.output_size)  # type: ignore[arg-type]  # None for as many as before
        unit = F.adaptive_avg_pool2d(unit, (height or rows, 1))
    elif isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        kernel, padding = _first(layer.kernel_size), 0
        dilation = 1 if isinstance(layer, nn.AvgPool2d) else _first(layer.dilation)
        if not isinstance(layer, nn.Conv2d):
            padding = _first(layer.padding)
        elif layer.padding != "valid":  # may be more than half a window, which no pooling takes
            reach = dilation * (kernel - 1)
            before, after = reach // 2, reach - reach // 2  # padding="same"
            if not isinstance(layer.padding, str):
                before = after = layer.padding[0]
            mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
            unit = F.pad(unit, (0, 0, before, after), mode)
        unit = F.max_pool2d(
            unit,
            (kernel, 1),
            (_first(layer.stride), 1),
            (padding, 0),
            (dilation, 1),
            getattr(layer, "ceil_mode", False),
        )
    return unit[:, 0, :, 0] > 0


def tainted(run: Callable[[Tensor], Tensor], images: Tensor, pixels: Tensor) -> Tensor:
    """Which cells [h, w] of an output [N, V, h, w] read some of the pixels [H, W] of an input.

    By a NaN in each of these, which goes through sums, products, maxima and activations: a cell
    that has none did not read the pixels on this input. What it does not show is a branch that
    another input would take.
    """
    with torch.no_grad():
        marked = run(images.masked_fill(pixels.to(images.device), torch.nan))
    return marked.isnan().any(dim=1).any(dim=0).cpu()


def needed_rows(
    layers: nn.Module | Iterable[nn.Module],
    image_rows: int,
    visible_map_rows: int | Tensor,
    example: Tensor | None = None,
) -> list[np.ndarray]:
    """The rows each layer's input must have for some rows of the last map to be right.

    Exact, with gaps where a stride jumps over rows: row r of a layer with kernel k, stride s,
    padding p and dilation d reads the rows r·s − p + t·d, 0 ≤ t < k, of its input.

    Parameters
    ----------
    layers : a stack of `torch.nn` layers (`torch.nn.Sequential`, nested or not)
        Convolutions, poolings and element-wise layers have a rule.
    image_rows : int
        Rows of the stack's input.
    visible_map_rows : int or bool tensor [map rows]
        Rows of its output that are read: so many from the top, or those that are marked.
    example : tensor [1, C, image_rows, W], optional
        An input; with it the reach of layers without a rule is found by `tainted`.

    Returns
    -------
    list of bool arrays, one for each layer's input and one for the last output
        The first tells which image rows can reach the map rows.

    Raises
    ------
    CamwallError
        For a layer whose receptive field is not known, and for rows the map does not have.
    """
    stack, rows, tables = list(leaves(layers)), image_rows, []
    if all(map(known, stack)):
        example = None
    for layer in stack:
        if known(layer):
            try:
                tables.append(_reads(layer, rows))
            except RuntimeError:
                raise CamwallError(f"{rows} rows are too few for {layer}") from None
        elif example is not None:
            marks = torch.eye(rows, dtype=torch.bool, device="cpu")[:, :, None]
            with evaluating(layer):
                reached = [tainted(layer, example, row.expand(example.shape[2:])) for row in marks]
            tables.append(torch.stack(reached).any(dim=2))
        else:
            raise CamwallError(
                f"receptive fields of a {type(layer).__name__} are not known: give a stack of "
                "convolutions with padding_mode='zeros', poolings and element-wise layers, or wall "
                "the network with build_wall"
            )
        rows = tables[-1].shape[1]
        if example is not None:
            with torch.no_grad(), evaluating(layer):
                example = layer(example)
    if not isinstance(visible_map_rows, Tensor):
        if not 0 < visible_map_rows <= rows:
            raise CamwallError(
                f"the last map has {rows} rows: {visible_map_rows} of them cannot be visible"
            )
        visible_map_rows = torch.arange(rows, device="cpu") < visible_map_rows
    needed = [visible_map_rows]
    for table in reversed(tables):
        needed.append((table & needed[-1]).any(dim=1))
    return [each.numpy() for each in reversed(needed)]
