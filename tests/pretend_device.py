"""A pretend device: numbers of the CPU under the rules of a GPU, for a process of its own.

Tensors are on it or not, the two do not mix, and numpy does not see it. Its random generators are
those of the CPU, which keep the low 32 bits of a seed: no device draws worse. It counts what is
launched on it, and how often the processor would wait for it.
"""

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed.tensor  # before a name that its annotations take is replaced
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

NAME = "pretend"
register: Any = getattr(backend_registration, "_setup_privateuseone_for_python_backend", None)
"""None where this torch cannot have a device that is written in Python."""
COPIES = {"aten._to_copy.default", "aten.copy_.default"}
LOOKS = {
    "aten._local_scalar_dense.default",
    "aten.nonzero.default",
    "aten.equal.default",
    "aten.bincount.default",
    "aten.masked_select.default",
    "aten._unique2.default",
}
"""Operations whose result, or its size, the processor has to know."""
INDEXING = {"aten.index.Tensor", "aten.index_put.default", "aten.index_put_.default"}
launches: Counter[str] = Counter()
"""Kernels, by operation."""
waits: Counter[str] = Counter()
"""How often the processor waits until all that was launched is done, by place."""


class OnDevice(torch.Tensor):
    """A tensor of the pretend device, around one of the CPU."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "OnDevice":
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )
        made.held = held
        return made  # type: ignore[no-any-return]

    def tolist(self) -> Any:
        _count_wait("tolist")
        return self.held.tolist()

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(_there(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_there(index), value)

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(function, args, kwargs or {})


class _Rules(TorchDispatchMode):
    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(function, args, kwargs or {})


class _Module(getattr(backend_registration, "_DummyBackendModule", object)):  # type: ignore[misc]
    """What torch asks of a device besides: the lower precisions that it has, for autocast."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


@contextmanager
def pretend_device() -> Iterator[torch.device]:
    """Have the device inside; what it changes in torch stays."""
    register(NAME, _Module())
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    source, tensor = torch.Generator, torch.tensor

    def made(data: Any, device: Any = "cpu", **rest: Any) -> torch.Tensor:
        return tensor(data, **rest).to(device)

    torch.tensor = torch.as_tensor = made  # which ask no mode
    torch.Generator = lambda device="cpu": source()  # type: ignore[assignment, misc]
    with _Rules():
        yield torch.device(NAME, 0)


def _run(function: Any, args: Any, kwargs: Any) -> Any:
    """Do an operation on the CPU; RuntimeError where tensors of two devices meet."""
    name = str(function)
    tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.Tensor)]
    there = [isinstance(one, OnDevice) for one in tensors]
    mixed = [one for one, on in zip(tensors, there, strict=True) if not on and one.dim() > 0]
    if any(there) and mixed and name not in COPIES:
        raise RuntimeError(f"{name}: expected all tensors to be on the same device")
    goes = any(there)
    if name == "aten.copy_.default":
        goes = there[0]
    elif kwargs.get("device") is not None:
        goes = torch.device(kwargs["device"]).type == NAME
    if any(there) or goes:
        _count(function, name, tensors, to_device=goes)
    plain_args, plain_kwargs = tree_map(_plain, (args, kwargs))
    out = function(*plain_args, **plain_kwargs)
    if not goes:
        return out
    out = tree_map(lambda one: OnDevice(one) if isinstance(one, torch.Tensor) else one, out)
    return return_and_correct_aliasing(function, args, kwargs, out) if any(there) else out


def _count(function: Any, name: str, tensors: list[torch.Tensor], *, to_device: bool) -> None:
    """Count an operation of the device, as a launch or as a wait."""
    on_device = [isinstance(one, OnDevice) for one in tensors]
    crosses = name in COPIES and (not to_device or not all(on_device))
    chosen = name in INDEXING and any(one.dtype == torch.bool for one in tensors[1:])
    if name in LOOKS or crosses or chosen:
        _count_wait(name)
    elif not function.is_view:
        launches[name] += 1


def _count_wait(name: str) -> None:
    own = [frame for frame in traceback.extract_stack() if "/audiogen/" in frame.filename]
    place = f"{own[-1].filename.rpartition('/audiogen/')[2]}:{own[-1].lineno}" if own else "outside"
    waits[f"{place} {name.removeprefix('aten.')}"] += 1


def _there(index: Any) -> Any:
    """An index whose lists lie on the device: torch would ask it for memory of its own."""
    if isinstance(index, tuple):
        return tuple(map(_there, index))
    return OnDevice(torch.tensor(index)) if isinstance(index, list) else index


def _plain(one: Any) -> Any:
    if isinstance(one, OnDevice):
        return one.held
    return torch.device("cpu") if isinstance(one, torch.device) else one
