"""Which network, which images: checksums that tell one run from another."""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import Enum
from functools import cached_property, partial
from inspect import getattr_static
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from camwall.as_found import plain_bytes

#: Whose code is not looked into: the versions of some are told, and others keep what they do.
_KNOWN = {*sys.stdlib_module_names, "torch", "torchvision", "camwall"} - {"__main__", "types"}

#: What says in its repr all that it is.
_PLAIN = (
    *(str, bytes, int, float, complex, range, slice, type, Enum),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format),
)


def digest(values: Sequence[Any]) -> str:
    """A checksum of tensors, arrays or numbers: shapes, types and values."""
    sha = hashlib.sha256()
    for value in map(torch.as_tensor, values):
        sha.update(f"{value.dtype} {list(value.shape)}".encode())
        sha.update(plain_bytes(value))
    return sha.hexdigest()


def model_digest(model: nn.Module) -> dict[str, str]:
    """Checksums of a model's parameters and buffers, and of what its modules are.

    That is the class of each, what it runs, and what it holds under a public name: numbers, words,
    tensors, functions and objects. Of functions it is the code, but not that of others they call.
    """
    state = {**model.state_dict(), **dict(model.named_buffers())}
    seen: dict[int, Any] = {}
    parts = [
        # Its own extra words say the wall.
        (at, str(type(each)), at and each.extra_repr(), _held(each, seen))
        for at, each in model.named_modules()
    ]
    told = {"weights": [*state, digest(list(state.values()))], "structure": map(repr, parts)}
    return {k: hashlib.sha256("\n".join(each).encode()).hexdigest() for k, each in told.items()}


def _held(module: nn.Module, seen: dict[int, Any]) -> list[Any]:
    hooks = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
    # Of hooks not what they hold, which may grow from pass to pass.
    runs = [_told(type(module).forward, seen), *(_code(each) for each in hooks)]
    names = [name for name in sorted(vars(module)) if name[0] != "_" and name != "training"]
    return runs + [
        (name, _told(vars(module)[name], seen))
        for name in names
        if not isinstance(getattr_static(type(module), name, None), cached_property)
    ]


def _known(kind: Any) -> bool:
    return str(getattr(kind, "__module__", "")).partition(".")[0] in _KNOWN


def _code(function: Any) -> Any:
    """A function's name, and its code if it is somebody's own."""
    name, code = getattr(function, "__qualname__", str(type(function))), function
    if not isinstance(function, CodeType):
        code = None if _known(function) else getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return name
    constants = [
        _code(each) if isinstance(each, CodeType) else _told(each, {}) for each in code.co_consts
    ]
    return name, code.co_code, code.co_names, constants


def _told(value: Any, seen: dict[int, Any]) -> Any:
    """A value in words that are the same in each process: no address, no order of a set."""
    if value is None or isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, nn.Module):  # which has words of its own
        return str(type(value))
    if isinstance(value, Tensor):
        plain = value.layout == torch.strided and not value.is_meta
        return digest([value]) if plain else repr((value.layout, value.shape))
    if isinstance(value, np.ndarray | np.generic):
        told = value.dtype.str, value.shape
        return told if value.dtype.hasobject else (*told, value.tobytes())
    if id(value) in seen:
        return "as before"
    seen[id(value)] = value  # kept, so that no other has its number
    parts: Any
    if isinstance(value, Mapping):
        parts = [(_told(key, seen), _told(part, seen)) for key, part in value.items()]
    elif isinstance(value, list | tuple):
        parts = [_told(part, seen) for part in value]
    elif isinstance(value, set | frozenset):
        parts = sorted(str(_told(part, {})) for part in value)
    elif isinstance(value, partial):
        parts = [_told(part, seen) for part in (value.func, value.args, value.keywords)]
    elif isinstance(value, MethodType):
        parts = [_told(part, seen) for part in (value.__func__, value.__self__)]
    elif isinstance(value, FunctionType) and not _known(value):
        parts = [_code(value), _told(value.__defaults__, seen)]
        for cell in value.__closure__ or ():
            with suppress(ValueError):  # an empty one
                parts.append(_told(cell.cell_contents, seen))
    else:
        held = {} if _known(type(value)) else getattr(value, "__dict__", {})
        public = {name: part for name, part in held.items() if name[0] != "_"}
        parts = [_code(value), _told(public, seen)]
    return str(type(value)), parts
