"""Walls, certificates of blindness and saliency methods that see through them.

The book's glossary defines the words. The names below are stable; the room of each is loaded
when it is used.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from camwall.lazily import lazily

if TYPE_CHECKING:
    from camwall import stacks, theory, train
    from camwall.check import Report, check
    from camwall.errors import BlindnessError, CamwallError
    from camwall.methods import METHODS, Method, explain
    from camwall.metrics import leak, response, twins
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
    "twins",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "camwall.stacks": (),
        "camwall.theory": (),
        "camwall.train": (),
        "camwall.check": ("Report", "check"),
        "camwall.errors": ("BlindnessError", "CamwallError"),
        "camwall.methods": ("METHODS", "Method", "explain"),
        "camwall.metrics": ("leak", "response", "twins"),
        "camwall.models": (
            "Preprocessing",
            "WalledModel",
            "build_wall",
            "efficientnet_lite0",
            "load_checkpoint",
            "masked_vgg16",
            "simple_cnn",
        ),
        "camwall.wall": ("Wall", "certify"),
    },
    extras={"camwall.theory": "theory"},
)


class _Front(ModuleType):
    """`camwall.check` is the function, also once the room of that name has been imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "check" and isinstance(value, ModuleType):
            value = value.check
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Front
