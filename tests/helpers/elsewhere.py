"""A device that is not there: its tensors are computed on the CPU and meet no other tensor.

As on a GPU, what mixes tensors of two devices, or takes one to NumPy, fails. torch must know the
device and run its backward passes without a driver: it is ``lazy``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

PLACE = torch.device("lazy:0")
_ATEN = torch.ops.aten
#: What takes indices from the CPU, or brings values over, on any device.
_ACROSS = (_ATEN.index.Tensor, _ATEN.index_put_.default, _ATEN._index_put_impl_.default)
_ACROSS += (_ATEN.index_put.default, _ATEN.copy_.default)


class There(Tensor):
    """A tensor that lies elsewhere; ``here`` are its values."""

    here: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, here: Tensor) -> "There":
        about = {"strides": here.stride(), "storage_offset": here.storage_offset()}
        about |= {"dtype": here.dtype, "layout": here.layout, "device": PLACE}
        return Tensor._make_wrapper_subclass(cls, here.shape, **about)

    def __init__(self, here: Tensor) -> None:
        self.here = here

    def tolist(self) -> Any:
        return self.here.tolist()

    @classmethod
    def __torch_dispatch__(cls, function, types, given=(), named=None):
        return _call(function, given, named or {})


def _call(function: Any, given: Any, named: dict[str, Any]) -> Any:
    tensors = [each for each in tree_leaves((given, named)) if isinstance(each, Tensor)]
    there = [isinstance(each, There) for each in tensors]
    strange = any(each.ndim for each, away in zip(tensors, there, strict=True) if not away)
    if any(there) and strange and function not in _ACROSS:
        raise RuntimeError(f"{function}: all tensors must be on the same device")
    if function is _ATEN._fused_sdp_choice.default:
        return 0  # by plain products
    device, own = named.get("device"), dict(named)
    stays = any(there) if device is None else torch.device(device).type == PLACE.type
    if function is _ATEN.copy_.default:
        stays = there[0]
    if stays and named.get("generator") is not None:
        raise RuntimeError(f"{function}: a generator of the CPU draws for another device")
    if stays and device is not None:
        own["device"] = torch.device("cpu")
    found = function(*tree_map_only(There, _values, given), **tree_map_only(There, _values, own))
    if not stays:
        return found
    found = tree_map_only(Tensor, There, found)
    return return_and_correct_aliasing(function, given, named, found) if any(there) else found


def _values(tensor: There) -> Tensor:
    return tensor.here


class _Device(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, given=(), named=None):
        return _call(function, given, named or {})


@contextmanager
def another_device() -> Iterator[torch.device]:
    """A device to move models and images to."""
    autocast, enabled = torch.autocast, torch.is_autocast_enabled

    class Autocast(autocast):
        def __init__(self, kind: str, *given: Any, **named: Any) -> None:
            super().__init__("cpu" if kind == PLACE.type else kind, *given, **named)

    def is_enabled(*kind: str) -> bool:
        return enabled(*("cpu" if each == PLACE.type else each for each in kind))

    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with (
            mock.patch.object(torch, "autocast", Autocast),
            mock.patch.object(torch, "is_autocast_enabled", is_enabled),
            _Device(),
        ):
            yield PLACE
    finally:
        torch._C._set_only_lift_cpu_tensors(False)
        torch.__future__.set_overwrite_module_params_on_conversion(False)
