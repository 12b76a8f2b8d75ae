"""Which image rows can reach the visible rows of a map: receptive fields, and tainting."""

from collections.abc import Callable, Iterable, Iterator
from math import ceil

import numpy as np
import torch
from torch import Tensor, nn

from camwall.as_found import evaluating
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

Window = Callable[[int], Iterable[int]]


def leaves(layers: nn.Module | Iterable[nn.Module]) -> Iterator[nn.Module]:
    """The layers of a stack in the order they run; one that is used twice comes twice.

    A subclass of Sequential that runs its layers in a way of its own is one layer.
    """
    if isinstance(layers, nn.Module) and type(layers).forward is not nn.Sequential.forward:
        yield layers
        return
    for layer in layers:  # type: ignore[union-attr]
        yield from leaves(layer)


def _first(value: int | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else value[0]


def _windows(layer: nn.Module, rows: int) -> tuple[int, Window]:
    """Output rows of ``layer`` on ``rows`` input rows, and those of them that each one reads."""
    # Exact types: a subclass may pad or read otherwise (EfficientNet's same-padding convolutions).
    if type(layer) in ELEMENTWISE:
        return rows, lambda r: range(r, r + 1)
    if type(layer) is nn.AdaptiveAvgPool2d or type(layer) is nn.AdaptiveMaxPool2d:
        size = layer.output_size
        out = size if isinstance(size, int) else size[0]  # type: ignore[index]
        if out is None:
            return rows, lambda r: range(r, r + 1)
        return out, lambda r: range(r * rows // out, -((-(r + 1) * rows) // out))
    if type(layer) is nn.Conv2d and layer.padding_mode not in ("zeros", "replicate"):
        raise CamwallError(
            f"receptive fields of {layer} are not known: its padding brings rows from elsewhere; "
            "use padding_mode='zeros'"
        )
    if type(layer) in (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d):
        kernel = _first(layer.kernel_size)  # type: ignore[arg-type]
        stride = _first(layer.stride)  # type: ignore[arg-type]
        dilation = 1 if type(layer) is nn.AvgPool2d else _first(layer.dilation)  # type: ignore[arg-type]
        reach = dilation * (kernel - 1)
        padding = layer.padding
        if padding == "same":
            before, after = reach // 2, reach - reach // 2
        else:
            before = after = 0 if padding == "valid" else _first(padding)  # type: ignore[arg-type]
        steps = (rows + before + after - reach - 1) / stride
        out = (ceil(steps) if getattr(layer, "ceil_mode", False) else int(steps // 1)) + 1
        if getattr(layer, "ceil_mode", False) and (out - 1) * stride >= rows + before:
            out -= 1  # a window that would start in the padding at the end is dropped
        if out < 1:
            raise CamwallError(f"{rows} rows are too few for {layer}")
        inside = range(rows)

        def reads(r: int) -> Iterable[int]:
            window = range(r * stride - before, r * stride - before + reach + 1, dilation)
            if getattr(layer, "padding_mode", "zeros") == "replicate":  # the edge, again
                return [min(max(i, 0), rows - 1) for i in window]
            return [i for i in window if i in inside]

        return out, reads
    raise CamwallError(
        f"receptive fields of a {type(layer).__name__} are not known: give a stack of "
        "convolutions, poolings and element-wise layers, or wall the network with build_wall"
    )


def all_known(layers: nn.Module | Iterable[nn.Module]) -> bool:
    """Whether each layer has a rule of its own, so that nothing has to be tried."""
    try:
        for layer in leaves(layers):
            _windows(layer, 2**12)
    except CamwallError:
        return False
    return True


def tainted(run: Callable[[Tensor], Tensor], images: Tensor, pixels: Tensor) -> Tensor:
    """Which cells of an output read some of the pixels of an input, by a NaN in each of these.

    A NaN goes through sums, products, maxima and activations; a cell that has none did not read
    the pixels on this input. What it does not show is a branch that another input would take.

    Parameters
    ----------
    run : tensor [N, C, H, W] → tensor [N, V, h, w]
    images : tensor [N, C, H, W]
    pixels : bool tensor [H, W]

    Returns
    -------
    bool tensor [h, w]
    """
    with torch.no_grad():
        marked = run(images.masked_fill(pixels.to(images.device), torch.nan))
    return marked.isnan().any(dim=1).any(dim=0).cpu()


def _tainted_windows(layer: nn.Module, values: Tensor) -> tuple[int, Window]:
    """What `_windows` gives, of a layer without a rule, from one pass for each row of its input."""
    reads: list[Tensor] = []  # by input row, the output rows that it reaches
    for row in range(values.shape[2]):
        pixels = torch.zeros(values.shape[2:], dtype=torch.bool)
        pixels[row] = True
        reads.append(tainted(layer, values, pixels).any(dim=1))
    table = torch.stack(reads)
    return table.shape[1], lambda r: table[:, r].nonzero()[:, 0].tolist()


def needed_rows(
    layers: nn.Module | Iterable[nn.Module],
    image_rows: int,
    visible_map_rows: int,
    example: Tensor | None = None,
) -> list[np.ndarray]:
    """The rows each layer's input must have for the visible rows of the last map to be right.

    Exact, with gaps where a stride jumps over rows: row r of a layer with kernel k, stride s,
    padding p and dilation d reads the rows r·s − p + t·d, 0 ≤ t < k, of its input.

    Parameters
    ----------
    layers : a stack of `torch.nn` layers (`torch.nn.Sequential`, nested or not)
        In evaluation mode. Convolutions, poolings and element-wise layers have a rule.
    image_rows, visible_map_rows : int
        Rows of the stack's input, and rows of its output, from the top, that are read.
    example : tensor [1, C, image_rows, W], optional
        An input; with it the reach of layers without a rule is found by tainting (`tainted`).

    Returns
    -------
    list of bool arrays, one for each layer's input and one for the last output
        The first tells which image rows can reach the visible map rows.

    Raises
    ------
    CamwallError
        For a layer whose receptive field is not known, and for rows the map does not have.

    Examples
    --------
    >>> needed_rows(nn.Sequential(nn.Conv2d(1, 1, 3), nn.MaxPool2d(2)), 8, 1)[0].sum()
    np.int64(4)
    """
    stack, sizes, windows = list(leaves(layers)), [image_rows], []
    tries = example is not None and not all_known(stack)
    for layer in stack:
        try:
            out, window = _windows(layer, sizes[-1])
        except CamwallError:
            if not tries:
                raise
            out, window = _tainted_windows(layer, example)  # type: ignore[arg-type]
        sizes.append(out)
        windows.append(window)
        if tries:
            with torch.no_grad(), evaluating(layer):
                example = layer(example)
    if not 0 < visible_map_rows <= sizes[-1]:
        raise CamwallError(
            f"the last map has {sizes[-1]} rows: {visible_map_rows} of them cannot be visible"
        )
    needed = [np.arange(sizes[-1]) < visible_map_rows]
    for rows, window in zip(reversed(sizes[:-1]), reversed(windows), strict=True):
        reads = np.zeros(rows, bool)
        for r in np.flatnonzero(needed[-1]):
            reads[list(window(int(r)))] = True
        needed.append(reads)
    return needed[::-1]
