"""Walls, certificates of blindness and saliency methods that see through them.

The book's glossary defines the words. The names of ``__init__.pyi`` are stable; the room of each is
loaded when it is used.
"""

import sys
from types import ModuleType
from typing import Any

from camwall.lazily import lazily

__getattr__, __dir__, __all__ = lazily(__name__, __file__, {"camwall.theory": "theory"})


class _Front(ModuleType):
    """`camwall.check` is the function, also once the room of that name has been imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "check" and isinstance(value, ModuleType):
            value = value.check
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Front
