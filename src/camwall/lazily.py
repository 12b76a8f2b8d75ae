"""Rooms that are loaded when one of their names is used: importing costs next to nothing."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from importlib import import_module
from typing import Any

from camwall.errors import extra


def lazily(
    package: str, names: Mapping[str, Sequence[str]], extras: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` (PEP 562) of a package.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    names : module → names
        The names that each module gives; a module without any is itself the name.
    extras : module → extra, optional
        What brings the packages that a module needs.
    """
    homes = {name: module for module, given in names.items() for name in given}
    rooms = {module.rpartition(".")[2]: module for module, given in names.items() if not given}

    def get(name: str) -> Any:
        module = homes.get(name) or rooms.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        needed = (extras or {}).get(module)
        with extra(needed) if needed else nullcontext():
            found = import_module(module)
        if name in homes:
            found = getattr(found, name)
            setattr(sys.modules[package], name, found)
        return found

    return get, lambda: sorted({*vars(sys.modules[package]), *homes, *rooms})
