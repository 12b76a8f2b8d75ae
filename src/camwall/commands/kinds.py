"""Networks of every kind of head, small and with random weights: how a practitioner's may end."""

import torch
import torchvision
from torch import Tensor, nn


class AttentionPooling(nn.Module):
    """The mean of maps [N, V, h, w] over positions, by the softmax of one query's products."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, channels) / channels**0.5)

    def forward(self, maps: Tensor) -> Tensor:
        cells = maps.flatten(2)
        return (cells * (self.query @ cells).softmax(dim=2)).sum(dim=2)


def kinds() -> dict[str, tuple[nn.Module, list[str | None]]]:
    """By its name a network, and some of its layers from early to last; None is the last with maps.

    The weights are random, drawn from one seed: they say what an architecture does, and nothing of
    what training adds.
    """
    get = torchvision.models.get_model
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vit = torchvision.models.VisionTransformer(
            image_size=224, patch_size=16, num_layers=6, num_heads=3, hidden_dim=192, mlp_dim=768
        )
        nn.init.normal_(vit.heads.head.weight, std=0.02)  # torchvision's starts at zero
        generalised, attention = get("resnet18"), get("resnet18")
        # The generalised mean up to a factor: maps after a ReLU are never negative.
        generalised.avgpool = nn.LPPool2d(3, 7)
        attention.avgpool = AttentionPooling(attention.fc.in_features)
        blocks = [f"encoder.layers.encoder_layer_{i}.ln_1" for i in (1, 3)]
        found: dict[str, tuple[nn.Module, list[str | None]]] = {
            "ResNet-18": (get("resnet18"), ["layer1", "layer2", "layer3", None]),
            "ConvNeXt-T": (get("convnext_tiny"), ["features.5", None]),
            "VGG-11": (get("vgg11"), [None]),
            "ViT": (vit, [*blocks, None]),
            "GeM on ResNet-18": (generalised, [None]),
            "attention on ResNet-18": (attention, [None]),
        }
    return {name: (network.eval(), layers) for name, (network, layers) in found.items()}
