"""What is imported when it is used: rooms, so that importing is cheap, and code of one's own."""

import ast
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

from camwall.errors import CamwallError, extra, in_one_line


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


def named_place(place: str) -> Any:
    """What ``module:name`` stands for, of a module that is installed or lies in this folder.

    Raises
    ------
    CamwallError
        There is no such module, or it has no such name; and whatever goes wrong when a function
        found there is called, with the line of its file.
    """
    module, _, name = place.partition(":")
    module = module.removesuffix(".py").replace("/", ".")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    asked = "name a function as MODULE:FUNCTION, of a module that is installed or in this folder"
    with in_one_line(f"{place} cannot be imported", asked):
        found = getattr(import_module(module), name)
    if not (inspect.isroutine(found) or inspect.isclass(found)):
        return found

    @wraps(found)
    def run(*given: Any) -> Any:
        try:
            return found(*given)
        except CamwallError:
            raise
        except (Exception, SystemExit) as error:
            frames = traceback.extract_tb(error.__traceback__)
            own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
            at = f"{own[-1].filename}, line {own[-1].lineno}"
            why = " ".join(str(error).split())[:400]
            raise CamwallError(f"{place} fails in {at}: {type(error).__name__}: {why}") from None

    return run
