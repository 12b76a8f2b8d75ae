"""The rest of a network, from a layer's maps to the scores, run without the layers before it."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from camwall.models.layer import Layer, each_tensor, same


@dataclass(frozen=True)
class Rest:
    """How scores follow from maps.

    By a ``chain`` of the layers in between, where they are known to be one; else by a pass of the
    network in which the layer's output is replaced. The ``carrier`` is the cheapest image
    [1 or n, C, H', W'] that brings a pass there; None where the images themselves must, since the
    scores read more of them than the layer's output.
    """

    network: nn.Module
    layer: Layer
    chain: nn.Sequential | None = None
    carrier: Tensor | None = None

    def __str__(self) -> str:
        if self.chain is not None:
            return "run by itself"
        if self.carrier is None:
            return "run with the whole network, on the images, since more than the layer reaches it"
        size = "×".join(map(str, self.carrier.shape[2:]))
        return f"run with the whole network, on an image of {size}"

    def __call__(self, maps: Tensor, output: Any, seen: Tensor) -> Tensor:
        """Scores [n, classes] of what is read of maps [n, V, h, w].

        ``output`` is the layer's own, for what else it holds (class tokens), of a pass over the
        images ``seen`` [n, C, H, W].
        """
        maps = maps.clone()  # what comes next may work in place
        if self.chain is not None:
            return self.chain(maps)
        carrier = seen if self.carrier is None else self.carrier.to(maps)
        if self.carrier is not None and len(carrier) > 1:
            carrier = carrier[:1].expand(len(maps), -1, -1, -1)
        return self.layer.run(self.network, carrier, lambda _: self.layer.put(output, maps))


def with_shared_parameters(network: nn.Module) -> nn.Module:
    """A copy with the network's own parameters, and modules and buffers of its own."""
    return copy.deepcopy(network, {id(each): each for each in network.parameters()})


def find_rest(network: nn.Module, layer: Layer, images: Tensor) -> Rest:
    """The cheapest way from a layer to the scores that is right for two images, and other maps."""
    with torch.no_grad():
        output = each_tensor(layer.output(network, images), torch.Tensor.clone)
        own = layer.maps(output, images.shape[2:]).clone()
        far = 16.0 * own.flip((0, 2))  # of either sign: a function may cut what is large
        far[:, ::2] *= -1
        trials = own, 0.5 * own.flip((0, 3)), far  # the last two, of no image
        wanted = [Rest(network, layer)(maps, output, images) for maps in trials]
        others = wanted[1], wanted[0], wanted[0]
        told = [  # a logarithm or a root may have no value far away
            (maps, each, other)
            for maps, each, other in zip(trials, wanted, others, strict=True)
            if torch.isfinite(each).all()
        ]
        for rest in _ways(network, layer, images):
            try:
                if all(same(rest(maps, output, images), *scores) for maps, *scores in told):
                    return rest
            except Exception:  # a network is anybody's code; this way is not one
                continue
    return Rest(network, layer)


def _ways(network: nn.Module, layer: Layer, images: Tensor) -> Iterator[Rest]:
    """From the cheapest to the dearest."""
    after = _leaves_after(network, layer, images)
    at = next((i for i, each in enumerate(after) if isinstance(each, nn.Linear)), len(after))
    flat = [] if any(type(module) is nn.Flatten for module in after) else [nn.Flatten()]
    mean = nn.AdaptiveAvgPool2d(1)  # heads that call functions, not modules
    for pooled in ([], [mean], [nn.ReLU(), mean]):
        yield Rest(network, layer, nn.Sequential(*pooled, *after[:at], *flat, *after[at:]))
    height, width = images.shape[2:]
    for count in (1, 2):  # one image for any number of maps, or one for each
        for part in (8, 4, 2, 1):
            small = images[1:, :, : -(-height // part), : -(-width // part)]
            # A copy of its own: some networks note the size of the images that they have seen.
            own = with_shared_parameters(network)
            yield Rest(own, layer, carrier=small.repeat(count, 1, 1, 1).clone())


def _leaves_after(network: nn.Module, layer: Layer, images: Tensor) -> list[nn.Module]:
    """The modules without children that are called after the layer's output."""
    called: list[nn.Module] = []
    hooks = [
        module.register_forward_hook(lambda module, *_: called.append(module))
        for module in network.modules()
        if not list(module.children())
    ]
    try:
        # The layer's own hook of these stands before the one that empties the list.
        layer.run(network, images[:1], lambda _: called.clear())
    finally:
        for hook in hooks:
            hook.remove()
    return called
