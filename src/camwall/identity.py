"""Which network, which images: checksums that tell one run from another."""

import hashlib
import re
import sys
import sysconfig
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from functools import cached_property, partial
from inspect import getattr_static
from numbers import Number
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from camwall.as_found import plain_bytes

#: Whose objects are not looked into: they hold files, locks, and what passes leave.
_SHUT = {*sys.stdlib_module_names, "torch", "camwall"} - {"__main__", "types", "argparse"}

#: Whose code is not looked into: their versions are told.
_PACKAGED = re.compile(
    "site-packages|dist-packages|^<frozen|^"
    + "|^".join(re.escape(p) for p in (sysconfig.get_path("stdlib"), str(Path(__file__).parent)))
)

#: What says in its repr all that it is.
_PLAIN = (
    *(type(None), str, bytes, Number, range, slice),
    *(np.dtype, torch.dtype, torch.layout, torch.memory_format),
)

#: Processes of one run are on devices of their own.
_DEVICE = re.compile(r"(cpu|cuda|hip|mps|mtia|xla|xpu)(:\d+)?")

#: How much is told of a network, of one of its attributes (in entries, or KB of numbers), and how
#: deep: more would take more than half a second.
_MOST, _OF_ONE, _DEEP = 60_000, 15_000, 16

#: What passes have changed of networks in this process.
_LEFT: WeakKeyDictionary[nn.Module, set[tuple[str, str]]] = WeakKeyDictionary()


def digest(values: Sequence[Any]) -> str:
    """A checksum of tensors, arrays or numbers: shapes, types and values."""
    sha = hashlib.sha256()
    for value in map(torch.as_tensor, values):
        sha.update(f"{value.dtype} {list(value.shape)}".encode())
        sha.update(plain_bytes(value.resolve_conj().resolve_neg()))
    return sha.hexdigest()


def model_digest(model: nn.Module) -> dict[str, str]:
    """Checksums of a model's weights, and of what its modules are.

    That is the class of each, what it runs, and what it holds (`held`): of a network behind a wall,
    when the wall was built.
    """
    words = _Words(model)
    weights = [(name, words.of(value, whole=True)) for name, value in model.state_dict().items()]
    # The model's own extra words say the wall.
    runs = [(at, words.of_module(each, said=bool(at))) for at, each in model.named_modules()]
    holds = getattr(model, "network_holds", None)
    holds = held(model) if holds is None else holds
    told = {"weights": weights, "structure": (runs, holds)}
    return {name: _sha(each) for name, each in told.items()}


def held(network: nn.Module) -> dict[tuple[str, str], str]:
    """What modules hold under public names and in buffers that no state has, in words.

    Numbers, texts, tensors, functions and objects; of functions somebody's own code, but not that
    of others they call. The words are the same in each process and on each device.
    """
    words, found, told = _Words(network), {}, {}
    for at, module in network.named_modules():
        values = {name: module._buffers[name] for name in module._non_persistent_buffers_set}
        values |= _public(module)
        for name in sorted(values.keys() - {"training"}):
            if not isinstance(getattr_static(type(module), name, None), cached_property):
                value = values[name]
                if id(value) not in told:  # as a configuration that all modules hold
                    told[id(value)] = words.of(value)
                found[at, name] = told[id(value)]
    return found


def unchanged(network: nn.Module, before: dict[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    """What was `held` before some passes, and that none has changed: what they leave tells nothing.

    Nor does it when the network is asked again, and the passes find what they left.
    """
    after, left = held(network), _LEFT.setdefault(network, set())
    left |= {at for at in {*before, *after} if before.get(at) != after.get(at)}
    return {at: words for at, words in before.items() if at not in left}


def _public(value: Any) -> dict[str, Any]:
    """What an object holds under public names."""
    found = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        for name in vars(kind).get("__slots__", ()):
            with suppress(AttributeError):  # not set
                found[name] = getattr(value, name)
    return {str(name): part for name, part in found.items() if str(name)[:1] != "_"}


class _TooMuch(Exception):
    """To be told: the type will do."""


class _Words:
    """Values in words that are the same in each process: no address, no order of a set."""

    def __init__(self, network: nn.Module) -> None:
        self.paths = {id(module): at for at, module in network.named_modules()}
        self.left = _MOST

    def of(self, value: Any, whole: bool = False) -> str:
        """Of a value: all of it, or its type where that is too much, whatever comes first in it."""
        self.room = allowed = sys.maxsize if whole else min(_OF_ONE, self.left)
        try:
            words = self.told(value, ())
        except _TooMuch:
            self.room, words = 0, _name(type(value))
        if not whole:
            self.left -= allowed - self.room
        return _sha(words)

    def of_module(self, module: nn.Module, said: bool) -> str:
        """Of its class, what it runs and, if asked, its extra words; not of what it holds."""
        self.room = _OF_ONE
        with suppress(Exception):
            return repr((self.runs(module), said and _extra(module)))
        return _name(type(module))

    def told(self, value: Any, within: tuple[int, ...]) -> Any:
        """A value in words; its type's name if it is held too deep, or cannot be read."""
        self.spend(1)
        try:
            if id(value) in within:
                return "again", within.index(id(value))
            return _name(type(value)), len(within) < _DEEP and self.parts(value, within)
        except _TooMuch:
            raise
        except Exception:  # a value is anybody's code
            return _name(type(value))

    def spend(self, entries: int) -> None:
        self.room -= entries
        if self.room < 0:
            raise _TooMuch

    def parts(self, value: Any, within: tuple[int, ...]) -> Any:
        if isinstance(value, Enum):
            return value.name or value.value
        if isinstance(value, _PLAIN):
            self.spend(len(value) >> 10 if isinstance(value, str | bytes) else 0)
            return None if isinstance(value, str) and _DEVICE.fullmatch(value) else repr(value)
        if isinstance(value, type):
            return _name(value)
        if isinstance(value, Tensor | np.ndarray | np.generic):
            self.spend(value.nbytes >> 10)
            told = str(value.dtype), tuple(value.shape)
            with suppress(Exception):  # not dense, or of objects
                if isinstance(value, Tensor):
                    return digest([value])
                return *told, not value.dtype.hasobject and _sha(value.tobytes())
            return told
        inner = (*within, id(value))

        def each(values: Iterable[Any]) -> list[Any]:
            return [self.told(part, inner) for part in values]

        if isinstance(value, nn.Module):
            if id(value) in self.paths:
                return self.paths[id(value)]
            modules = list(value.modules())
            return [(self.runs(part), _extra(part)) for part in modules], each(
                [value.state_dict(), *map(_public, modules)]
            )
        if isinstance(value, Mapping):
            return sorted(map(_sha, map(each, value.items())))
        if isinstance(value, set | frozenset):
            return sorted(map(_sha, each(value)))
        if isinstance(value, list | tuple | deque):
            return each(value)
        if isinstance(value, partial):
            return each([value.func, value.args, value.keywords])
        if isinstance(value, MethodType):
            return each([value.__func__, value.__self__])
        if isinstance(value, CodeType):
            return value.co_name, value.co_code, value.co_names, each(value.co_consts)
        if code := _own_code(value):
            cells = []
            for cell in value.__closure__ or ():
                with suppress(ValueError):  # an empty one
                    cells.append(cell.cell_contents)
            return each([code, value.__defaults__, value.__kwdefaults__, cells])
        if _name(type(value)).partition(".")[0] in _SHUT:
            return str(getattr(value, "__qualname__", ""))
        return each([_public(value)])

    def runs(self, module: nn.Module) -> list[Any]:
        """The class of a module and what it runs: of hooks not what they hold."""
        hooks = (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
        return [
            _name(type(module)),
            self.told(type(module).forward, ()),
            *(str(getattr(each, "__qualname__", _name(type(each)))) for each in hooks),
            *(self.told(_own_code(each), ()) for each in hooks),
        ]


def _extra(module: nn.Module) -> str:
    return re.sub("0x[0-9a-f]+", "", module.extra_repr())


def _sha(words: Any) -> str:
    return hashlib.sha256(repr(words).encode(errors="replace")).hexdigest()


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _own_code(function: Any) -> CodeType | None:
    """The code of a function that comes with no package."""
    code = function.__code__ if isinstance(function, FunctionType) else None
    return None if code is None or _PACKAGED.search(code.co_filename) else code
