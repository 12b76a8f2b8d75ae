"""Rooms that are loaded when one of their names is used: importing costs next to nothing."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazily(
    package: str, names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` (PEP 562) of a package.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    names : module → names
        The names that each module gives; a module without any is itself the name.
    """
    homes = {name: module for module, given in names.items() for name in given}
    rooms = {module.rpartition(".")[2]: module for module, given in names.items() if not given}

    def get(name: str) -> Any:
        if name in rooms:
            return import_module(rooms[name])
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted({*vars(sys.modules[package]), *homes, *rooms})
