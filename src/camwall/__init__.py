"""Walls, certificates of blindness and saliency methods that see through them.

The book's glossary defines the words. The names below are stable.
"""

from camwall import stacks, theory, train
from camwall.check import Report, check
from camwall.errors import BlindnessError, CamwallError
from camwall.methods import METHODS, Method, explain
from camwall.metrics import leak, response
from camwall.models import (
    Preprocessing,
    WalledModel,
    build_wall,
    efficientnet_lite0,
    load_checkpoint,
    masked_vgg16,
    simple_cnn,
)
from camwall.wall import Wall, certify

__all__ = [
    "METHODS",
    "BlindnessError",
    "CamwallError",
    "Method",
    "Preprocessing",
    "Report",
    "Wall",
    "WalledModel",
    "build_wall",
    "certify",
    "check",
    "efficientnet_lite0",
    "explain",
    "leak",
    "load_checkpoint",
    "masked_vgg16",
    "response",
    "simple_cnn",
    "stacks",
    "theory",
    "train",
]
