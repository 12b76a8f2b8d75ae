"""A private copy of a trunk for the many passes of perturbed images: the same function, faster.

Each change is an identity of real arithmetic; what differs is rounding. The maps that a method
shows never come from here, only the scores of perturbed images.
"""

import copy
from contextlib import suppress

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

#: Channels from which a 3×3 convolution is faster by Winograd's algorithm: its transforms cost the
#: same for each channel, what it saves grows with their number.
MANY_IN, MANY_OUT = 128, 256

#: Values that one step of it transforms, so that they stay in a processor's cache (16 MB).
CACHED = 4 * 2**20

# F(4×4, 3×3) of Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2016).
_INPUT = [
    [4.0, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_FILTER = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
_OUTPUT = [[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


class Winograd(nn.Module):
    """A 3×3 convolution with stride and padding 1 by Winograd's algorithm.

    Each 4×4 tile of the output costs 6×6 products for each pair of channels, not 4×4×9:
    Y = Aᵀ [Σ_c (G g_c Gᵀ) ⊙ (Bᵀ d_c B)] A for 6×6 tiles d of the input and filters g. A transform
    from both sides is one product with a Kronecker product, the sum over channels c one matrix
    product for each of the 36 places.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        weight = conv.weight.detach()
        side = torch.tensor(_FILTER, dtype=torch.float64, device=weight.device)
        places = torch.einsum("ar,oirs,bs->abio", side, weight.double(), side)
        self.weight = places.flatten(0, 1).to(weight.dtype).contiguous()
        self.bias = None if conv.bias is None else conv.bias.detach()
        into, out = (torch.tensor(m, dtype=weight.dtype) for m in (_INPUT, _OUTPUT))
        self.into = torch.kron(into, into).to(weight.device)
        self.out = torch.kron(out, out).to(weight.device)

    def forward(self, maps: Tensor) -> Tensor:
        _, inner, outer = self.weight.shape
        places = 36 / 16 * maps.shape[2] * maps.shape[3] * (inner + outer)
        group = max(1, int(CACHED / places))
        return torch.cat([self._group(part) for part in maps.split(group)])

    def _group(self, maps: Tensor) -> Tensor:
        count, channels, height, width = maps.shape
        down, across = -(-height // 4), -(-width // 4)
        maps = maps.permute(0, 2, 3, 1)  # channels last, as they lie in memory
        maps = F.pad(maps, (0, 0, 1, 4 * across + 1 - width, 1, 4 * down + 1 - height))
        tiles = maps.unfold(1, 6, 4).unfold(2, 6, 4).permute(4, 5, 0, 1, 2, 3)
        places = (self.into @ tiles.reshape(36, -1)).view(36, -1, channels)
        summed = torch.bmm(places, self.weight).view(36, -1)
        tiles = (self.out @ summed).view(4, 4, count, down, across, -1).permute(2, 3, 0, 4, 1, 5)
        result = tiles.reshape(count, 4 * down, 4 * across, -1)[:, :height, :width]
        if self.bias is not None:
            result = result + self.bias
        return result.permute(0, 3, 1, 2)


def _suits_winograd(module: nn.Conv2d) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.kernel_size == (3, 3)
        and module.stride == module.padding == module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and module.groups == 1
        and module.in_channels >= MANY_IN
        and module.out_channels >= MANY_OUT
        and module.weight.device.type == "cpu"  # elsewhere the device's library chooses for itself
        and module.weight.dtype in (torch.float32, torch.float64)
    )


class _Tracer(fx.Tracer):
    """Keeps convolutions whole, also those of a package's own class."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, nn.Conv2d) or super().is_leaf_module(module, name)


def _fold(trunk: nn.Module) -> None:
    """Fold each batch normalisation that follows a convolution alone into its weights, in place."""
    graph = _Tracer().trace(trunk)
    calls = [node for node in graph.nodes if node.op == "call_module"]
    modules = dict(trunk.named_modules())
    for node in calls:
        norm, before = modules[node.target], node.args[0] if node.args else None
        if type(norm) is not nn.BatchNorm2d or not isinstance(before, fx.Node):
            continue
        if before not in calls or len(before.users) > 1:
            continue
        conv = modules[before.target]
        once = all(sum(c.target == n.target for c in calls) == 1 for n in (node, before))
        if not isinstance(conv, nn.Conv2d) or not once:
            continue
        if norm.running_mean is not None and norm.running_var is not None:
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight,
                conv.bias,
                norm.running_mean,
                norm.running_var,
                norm.eps,
                norm.weight,
                norm.bias,
            )
            for parent in list(trunk.modules()):  # a module may have several names
                for name, child in list(parent._modules.items()):
                    if child is norm:
                        setattr(parent, name, nn.Identity())


def fast_copy(trunk: nn.Module) -> nn.Module:
    """A copy of a trunk in evaluation mode that computes the same faster.

    Batch normalisation is folded into the convolution before it, wide 3×3 convolutions run by
    Winograd's algorithm, weights lie channels last.

    Parameters
    ----------
    trunk : torch.nn.Module
        Not changed.

    Returns
    -------
    torch.nn.Module
        For inputs in channels_last; its parameters want no gradients.
    """
    fast = copy.deepcopy(trunk).requires_grad_(False).eval()
    if any(isinstance(module, nn.BatchNorm2d) for module in fast.modules()):
        # A trunk that branches on values cannot be traced, and keeps its normalisation. Whatever
        # its author wrote runs here on symbols, and may raise anything.
        with suppress(Exception):
            _fold(fast)
    for module in list(fast.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d) and _suits_winograd(child):
                setattr(module, name, Winograd(child))
    return fast.to(memory_format=torch.channels_last)
