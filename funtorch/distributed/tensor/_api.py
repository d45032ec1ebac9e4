"""DTensor: a tensor that several processes hold together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from funtorch.distributed import _functional_collectives as collectives
from funtorch.distributed.device_mesh import DeviceMesh
from funtorch.distributed.tensor._redistribute import Redistributed, held
from funtorch.distributed.tensor._rules import ELEMENTWISE_STEPS, on_parts
from funtorch.distributed.tensor.placement_types import Partial, Placement, Replicate, Shard
from funtorch.func.pure import tree
from funtorch.overrides import DisableTorchFunctionSubclass
from funtorch.size import Size
from funtorch.tensor import Tensor, as_subclass, size_of

Placements = tuple[Placement, ...]


class DTensor(Tensor):
    """What this process holds of a tensor, with the mesh and the placements that say what it is.

    Pointwise functions, products and sums are carried out on what each process holds (`_rules`). All
    others first make their operands whole in every process, and their results are replicated: values
    are PyTorch's, while PyTorch's rules may leave results cut. `shape` is that of the whole.
    """

    device_mesh: DeviceMesh
    placements: Placements
    _whole: tuple[int, ...]

    @staticmethod
    def from_local(
        local_tensor: Tensor,
        device_mesh: DeviceMesh | None = None,
        placements: Sequence[Placement] | None = None,
        *,
        run_check: bool = False,
        shape: Sequence[int] | None = None,
        stride: Sequence[int] | None = None,
    ) -> DTensor:
        """A DTensor of what each process has. shape: of the whole, where chunks differ in size."""
        mesh = _mesh(device_mesh)
        placed = _normal(placements, mesh, local_tensor.ndim)
        whole = list(size_of(local_tensor))
        for i, placement in enumerate(placed):
            if isinstance(placement, Shard):
                whole[placement.dim] *= mesh.size(i)
        return _made(local_tensor, mesh, placed, whole if shape is None else shape)

    def detach(self) -> DTensor:
        """The same without its past."""
        with DisableTorchFunctionSubclass():
            return _made(Tensor.detach(self), self.device_mesh, self.placements, self._whole)

    def to_local(self, *, grad_placements: Sequence[Placement] | None = None) -> Tensor:
        """What this process holds, on the same memory."""
        with DisableTorchFunctionSubclass():
            return self.view_as(self)

    def redistribute(
        self,
        device_mesh: DeviceMesh | None = None,
        placements: Sequence[Placement] | None = None,
        *,
        async_op: bool = False,
    ) -> DTensor:
        """The same tensor under other placements."""
        if placements is None:
            raise RuntimeError("placements is needed for redistribute!")
        placed = _normal(placements, self.device_mesh, len(self._whole))
        for old, new in zip(self.placements, placed, strict=True):
            if isinstance(new, Partial) and old != new:
                raise RuntimeError(
                    "Can not redistribute to Partial, redistributing to Partial is for internal "
                    "use only!"
                )
        local = self.to_local()
        if placed != self.placements:
            local = Redistributed.apply(
                local, self.device_mesh, self.placements, placed, self._whole
            )
        return _made(local, self.device_mesh, placed, self._whole)

    def full_tensor(self, *, grad_placements: Sequence[Placement] | None = None) -> Tensor:
        """The whole, in every process."""
        return self.redistribute(placements=[Replicate()] * self.device_mesh.ndim).to_local()

    @property
    def _local_tensor(self) -> Tensor:
        return self.to_local()

    @property
    def shape(self) -> Size:
        """Of the whole."""
        return Size(self._whole)

    def size(self, dim: int | None = None) -> Any:
        """Of the whole, or one extent of it."""
        return self.shape if dim is None else self._whole[dim]

    def numel(self) -> int:
        """Elements of the whole."""
        return self.shape.numel()

    @property
    def grad(self) -> DTensor | None:  # type: ignore[override]
        """The gradient, placed as the tensor is."""
        local = Tensor.grad.__get__(self)  # type: ignore[attr-defined]
        if local is None:
            return None
        placed = tuple(Replicate() if p.is_partial() else p for p in self.placements)
        return _made(local, self.device_mesh, placed, self._whole)

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        local = value.to_local() if isinstance(value, DTensor) else value
        Tensor.grad.__set__(self, local)  # type: ignore[attr-defined]

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        placed, mesh = self.placements, self.device_mesh
        return f"DTensor(local_tensor={self.to_local()}, device_mesh={mesh}, placements={placed})"

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call a function on whole tensors; what it returns is replicated."""
        if func in _about_itself():
            return func(*args, **(kwargs or {}))
        found = _on_parts(func, args, kwargs or {})
        if found is not None:
            return found
        given: list[DTensor] = []
        whole = _each((args, kwargs or {}), DTensor, lambda x: (given.append(x), _operand(x))[1])
        first = given[0]
        cut = any(not placement.is_replicate() for placement in first.placements)
        if _writes(func) and cut and first.device_mesh.size() > 1:
            raise NotImplementedError(f"{func.__name__} writes into a DTensor that is cut")
        result = func(*whole[0], **whole[1])
        mesh = first.device_mesh
        everywhere = (Replicate(),) * mesh.ndim
        if _writes(func) and isinstance(result, Tensor):
            return first
        return _each(result, Tensor, lambda x: _made(x, mesh, everywhere, size_of(x)))


_RANDOM = ("rand", "dropout", "bernoulli", "multinomial", "normal", "uniform")


def _on_parts(func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """The result of a function on what each process holds; None where there is no rule for it."""
    leaves = tree.tree_leaves((args, kwargs), is_leaf=lambda x: isinstance(x, Tensor))
    given = [leaf for leaf in leaves if isinstance(leaf, DTensor)]
    if given[0].device_mesh.size() == 1 or _writes(func):
        return None
    name = func.__name__
    if name in ELEMENTWISE_STEPS:
        local = _each((args, kwargs), DTensor, lambda x: x.to_local())
        return func(*local[0], **local[1])
    if any(type(x) is Tensor and x.ndim for x in leaves):
        raise RuntimeError(
            f"{name} got mixed torch.Tensor and DTensor, need to convert all torch.Tensor to "
            "DTensor before calling distributed operators!"
        )
    if any(word in name for word in _RANDOM):
        raise NotImplementedError(f"{name} of a DTensor: processes draw numbers of their own")

    def run(operands: Sequence[Tensor]) -> Any:
        fill = iter(operands)
        own_args, own_kwargs = _each((args, kwargs), DTensor, lambda _: next(fill))
        return func(*own_args, **own_kwargs)

    short = name.strip("_")
    short = short[1:] if short in ("radd", "rmul") else short
    return on_parts(short, run, given, len(leaves), _made)


@functools.cache
def _about_itself() -> set[Any]:
    """What a DTensor answers of what it holds here: its place on the tape, dtype, device and such."""
    made = {getattr(Tensor, name) for name in _OWN_METHODS}
    of_values = {"T", "H", "mT", "mH", "real", "imag", "data"}
    for name, found in vars(Tensor).items():
        if isinstance(found, property) and name not in of_values:
            made |= {found.__get__, found.__set__, found.__delete__}
    return made


_OWN_METHODS = (
    "backward",
    "is_complex",
    "is_floating_point",
    "register_hook",
    "register_post_accumulate_grad_hook",
    "requires_grad_",
    "retain_grad",
)


def _operand(tensor: DTensor) -> Tensor:
    return tensor.to_local() if tensor.device_mesh.size() == 1 else tensor.full_tensor()


def _writes(func: Callable[..., Any]) -> bool:
    name = func.__name__
    return name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))


def _each(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """Containers with what is of a kind in them changed."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        return {key: _each(part, kind, change) for key, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [_each(part, kind, change) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _made(local: Tensor, mesh: DeviceMesh, placements: Placements, shape: Sequence[int]) -> DTensor:
    made: DTensor = as_subclass(local.view_as(local), DTensor)
    made.device_mesh, made.placements, made._whole = mesh, placements, tuple(shape)
    return made


def _mesh(mesh: DeviceMesh | None) -> DeviceMesh:
    if mesh is None:
        raise RuntimeError("a DTensor needs a device_mesh: none is in force")
    return mesh


def _normal(placements: Sequence[Placement] | None, mesh: DeviceMesh, ndim: int) -> Placements:
    """One placement for each dimension of the mesh (by default replicated), from the front."""
    given = [Replicate() for _ in range(mesh.ndim)] if placements is None else list(placements)
    if len(given) != mesh.ndim:
        raise ValueError(
            f"`placements` must have the same length as `device_mesh.ndim`! Found placements "
            f"length: {len(given)}, and device_mesh.ndim: {mesh.ndim}."
        )
    return tuple(Shard(p.dim % ndim) if isinstance(p, Shard) and ndim else p for p in given)


def distribute_tensor(
    tensor: Tensor,
    device_mesh: DeviceMesh | None = None,
    placements: Sequence[Placement] | None = None,
    *,
    src_data_rank: int | None = 0,
) -> DTensor:
    """A DTensor of a whole tensor. src_data_rank: whose data counts; None: each its own."""
    mesh = _mesh(device_mesh)
    placed = _normal(placements, mesh, tensor.ndim)
    if not tensor.is_leaf:
        raise RuntimeError(
            "`distribute_tensor` should be used to distribute leaf tensors! but found non-leaf "
            "tensor!"
        )
    data = tensor.detach()
    if src_data_rank is not None:
        for i in range(mesh.ndim):
            if mesh.size(i) > 1:
                first = mesh.mesh.select(i, src_data_rank).reshape(-1)[0]
                data = collectives.broadcast(data, int(first), (mesh, i))
    made = _made(held(data, mesh, placed).contiguous(), mesh, placed, size_of(tensor))
    return made.requires_grad_(tensor.requires_grad)
