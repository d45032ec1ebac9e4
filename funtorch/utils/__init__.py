"""torch.utils."""

import weakref

from funtorch.tensor import Tensor
from funtorch.utils import _pytree, checkpoint, data, dlpack, hooks

__all__ = ["checkpoint", "data", "dlpack", "hooks", "swap_tensors"]


def swap_tensors(t1: Tensor, t2: Tensor) -> None:
    """Let two tensors exchange all that they are; whoever holds one then holds the other.

    Raises RuntimeError if one of them has a weak reference to it.
    """
    for name, tensor in (("t1", t1), ("t2", t2)):
        if weakref.getweakrefs(tensor):
            raise RuntimeError(f"Cannot swap {name} because it has weakref associated with it")
    slots = [name for name in Tensor.__slots__ if name != "__weakref__"]
    for name in ("__class__", *slots):
        mine, theirs = getattr(t1, name), getattr(t2, name)
        setattr(t1, name, theirs)
        setattr(t2, name, mine)
