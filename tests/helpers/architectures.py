"""torchvision's networks with random weights, for what is claimed of many of them."""

from functools import partial

import torch
import torchvision
from torch import nn

from camwall.config import quick
from camwall.models import Preprocessing
from tests.helpers.networks import randomise

#: Small inputs in a smoke run; a ViT takes its own alone.
SIZE = 64 if quick() else 224

#: Averaged over positions before anything else reads the last maps.
POOLED = (
    "resnet18",
    "efficientnet_b0",
    "regnet_y_400mf",
    "shufflenet_v2_x0_5",
    "mnasnet0_5",
    "mobilenet_v3_small",
    "googlenet",
    "squeezenet1_1",
    "convnext_tiny",
    "swin_t",
)
#: Of a head that tells positions apart: dense layers, a ReLU before the pooling, a class token.
OTHERS = ("vgg11_bn", "alexnet", "densenet121", "vit")


def _vit() -> nn.Module:
    network = torchvision.models.VisionTransformer(
        image_size=SIZE, patch_size=16, num_layers=3, num_heads=3, hidden_dim=48, mlp_dim=96
    )
    nn.init.normal_(network.encoder.pos_embedding, std=0.5)  # as large as trained ones
    return network


def architecture(name: str, seed: int = 0) -> nn.Module:
    """One of `POOLED` and `OTHERS`, in evaluation mode."""
    extra = {"init_weights": False} if name == "googlenet" else {}
    make = _vit if name == "vit" else partial(torchvision.models.get_model, name, **extra)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = make().eval()
    randomise(network, seed)  # their own first weights make scores of 10⁻⁹, and biases of 0
    return network


def prepared() -> Preprocessing:
    """How their images are made."""
    return Preprocessing(resize=None, crop=SIZE)
