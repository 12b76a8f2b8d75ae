"""Rooms that are loaded when one of their names is used: importing costs next to nothing."""

import ast
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from camwall.errors import extra


def lazily(
    package: str, file: str, extras: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` (PEP 562) and ``__all__`` of a package.

    Parameters
    ----------
    package, file : str
        Its ``__name__`` and ``__file__``. The names that it gives, and the module of each, are the
        imports of the stub beside the file, which type checkers read too.
    extras : module → extra
        What brings the packages that a module needs.
    """
    stub = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8"))
    lines = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    homes = {alias.name: str(line.module) for line in lines for alias in line.names}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        of_package = homes[name] == package  # a module of it
        module = f"{package}.{name}" if of_package else homes[name]
        with extra(extras[module]) if module in extras else nullcontext():
            found = import_module(module)
        if not of_package:
            found = getattr(found, name)
            setattr(sys.modules[package], name, found)
        return found

    return get, lambda: sorted({*vars(sys.modules[package]), *homes}), sorted(homes)
