"""Pruning: masks on parameters, applied by a hook before each call (`torch.nn.utils.prune`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from funtorch.nn.module import Module
from funtorch.nn.parameter import Parameter
from funtorch.ops._declare import TABLE
from funtorch.tensor import Tensor


class BasePruningMethod(ABC):
    """A way to choose what is masked: subclasses write `compute_mask`.

    PRUNING_TYPE: 'unstructured', 'structured' or 'global': what a second pruning of the same
    parameter chooses among.
    """

    PRUNING_TYPE: str
    _tensor_name: str = ""

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """A mask for t, zero where default_mask is and where this method prunes."""

    def apply_mask(self, module: Module) -> Tensor:
        """The parameter times its mask."""
        name = self._tensor_name
        return getattr(module, f"{name}_mask").to(getattr(module, f"{name}_orig").dtype) * getattr(
            module, f"{name}_orig"
        )

    @classmethod
    def apply(
        cls, module: Module, name: str, *args: Any, importance_scores: Any = None, **kwargs: Any
    ) -> BasePruningMethod:
        """Prune `name` of a module by this method, on top of what has been pruned."""
        method = cls(*args, **kwargs)
        method._tensor_name = name
        before = _hook_of(module, name)
        if before is not None:
            del module._forward_pre_hooks[before[0]]
        original = getattr(module, name if before is None else f"{name}_orig")
        scores = original if importance_scores is None else importance_scores
        if scores.shape != original.shape:
            raise AssertionError("importance_scores should have the same shape as parameter")
        if before is None:
            del module._parameters[name]
            module.register_parameter(f"{name}_orig", original)
            default = TABLE["ones_like"].facade(original.detach())
        else:
            default = getattr(module, f"{name}_mask").detach().clone()
        chosen = method
        mask = method.compute_mask(scores.detach(), default)
        if before is not None:
            chosen = PruningContainer(before[1], method)
            chosen._tensor_name = name
            if method.PRUNING_TYPE == "unstructured":
                mask = _within(method, scores.detach(), default)
        module.register_buffer(f"{name}_mask", mask)
        setattr(module, name, chosen.apply_mask(module))
        module.register_forward_pre_hook(chosen)
        return chosen

    def prune(
        self, t: Tensor, default_mask: Tensor | None = None, importance_scores: Any = None
    ) -> Tensor:
        """A pruned copy of a tensor."""
        scores = t if importance_scores is None else importance_scores
        default = TABLE["ones_like"].facade(t) if default_mask is None else default_mask
        return t * self.compute_mask(scores, default).to(t.dtype)

    def remove(self, module: Module) -> None:
        """Make the pruning permanent: the masked values become the parameter."""
        name = self._tensor_name
        value = self.apply_mask(module)
        if name in module.__dict__:
            del module.__dict__[name]
        original = module._parameters.pop(f"{name}_orig")
        del module._buffers[f"{name}_mask"]
        setattr(module, name, Parameter(value.detach(), original.requires_grad))


def _within(method: BasePruningMethod, scores: Tensor, default: Tensor) -> Tensor:
    """The mask when only what is left may be pruned."""
    left = default == 1
    mask = default.clone()
    mask[left] = method.compute_mask(scores[left], mask[left])
    return mask


class PruningContainer(BasePruningMethod):
    """Several prunings of one parameter."""

    def __init__(self, *methods: BasePruningMethod) -> None:
        self._methods: list[BasePruningMethod] = []
        self._tensor_name = methods[0]._tensor_name if methods else ""
        for method in methods:
            own = method._methods if isinstance(method, PruningContainer) else [method]
            self._methods.extend(own)

    def add_pruning_method(self, method: BasePruningMethod | None) -> None:
        """Prune by one more method. Raises ValueError if it is for another tensor."""
        if method is not None and not isinstance(method, BasePruningMethod):
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if method is not None and self._tensor_name != method._tensor_name:
            raise ValueError(
                "Can only add pruning methods acting on the parameter named "
                f"'{self._tensor_name}' to PruningContainer {self}. Found '{method._tensor_name}'"
            )
        self._methods.append(method)

    def __len__(self) -> int:
        return len(self._methods)

    def __iter__(self) -> Any:
        return iter(self._methods)

    def __getitem__(self, index: int) -> BasePruningMethod:
        return self._methods[index]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """All masks, one after the other."""
        for method in self._methods:
            default_mask = method.compute_mask(t, default_mask)
        return default_mask


def _count(amount: Any, size: int) -> int:
    """How many of `size` things an amount means: a number of them, or a fraction."""
    if not isinstance(amount, int | float) or isinstance(amount, bool):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    if amount < 0 or (isinstance(amount, float) and amount > 1.0):
        raise ValueError(
            f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer"
        )
    count = amount if isinstance(amount, int) else round(amount * size)
    if count > size:
        raise ValueError(
            f"amount={amount} should be smaller than the number of parameters to prune={size}"
        )
    return count


class Identity(BasePruningMethod):
    """Prunes nothing."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        return default_mask


class _Unstructured(BasePruningMethod):
    PRUNING_TYPE = "unstructured"

    def __init__(self, amount: Any) -> None:
        _count(amount, 1 << 62)
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        count = _count(self.amount, t.numel())
        mask = default_mask.clone()
        if count:
            flat = mask.reshape(-1)
            flat[self._lowest(t, count)] = 0
            mask = flat.reshape(*default_mask.shape)
        return mask

    def _lowest(self, t: Tensor, count: int) -> Tensor:
        raise NotImplementedError


class RandomUnstructured(_Unstructured):
    """Prunes elements at random."""

    def _lowest(self, t: Tensor, count: int) -> Tensor:
        return TABLE["rand_like"].facade(t).reshape(-1).topk(count).indices


class L1Unstructured(_Unstructured):
    """Prunes the smallest elements."""

    def _lowest(self, t: Tensor, count: int) -> Tensor:
        return t.abs().reshape(-1).topk(count, largest=False).indices


class _Structured(BasePruningMethod):
    PRUNING_TYPE = "structured"

    def __init__(self, amount: Any, dim: int = -1) -> None:
        _count(amount, 1 << 62)
        self.amount, self.dim = amount, dim

    def _scores(self, t: Tensor) -> Tensor:
        raise NotImplementedError

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        if t.ndim <= 1:
            raise ValueError(
                f"Structured pruning can only be applied to multidimensional tensors. Found tensor "
                f"of shape {t.shape} with {t.ndim} dims"
            )
        size = t.shape[self.dim]
        count = _count(self.amount, size)
        if not count:
            return default_mask
        kept = self._scores(t).topk(size - count, largest=True).indices
        channel = t.new_zeros(size)
        channel[kept] = 1
        shape = [1] * t.ndim
        shape[self.dim] = -1
        return default_mask * channel.reshape(shape).to(default_mask.dtype)


class RandomStructured(_Structured):
    """Prunes whole slices at random."""

    def _scores(self, t: Tensor) -> Tensor:
        return TABLE["rand"].facade(t.shape[self.dim], device=t.device)


class LnStructured(_Structured):
    """Prunes the slices of smallest norm."""

    def __init__(self, amount: Any, n: Any, dim: int = -1) -> None:
        super().__init__(amount, dim)
        self.n = n

    def _scores(self, t: Tensor) -> Tensor:
        rest = [d for d in range(t.ndim) if d != self.dim % t.ndim]
        return t.norm(self.n, dim=rest)


class CustomFromMask(BasePruningMethod):
    """Prunes by a mask that is given."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        if default_mask.shape != self.mask.shape:
            raise AssertionError("mask should have the shape of the parameter")
        return default_mask * self.mask.to(default_mask.dtype)


# Functions ----------------------------------------------------------------------------------------


def identity(module: Module, name: str) -> Module:
    """Set up pruning without masking anything."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: Any) -> Module:
    """Mask elements at random."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(
    module: Module, name: str, amount: Any, importance_scores: Any = None
) -> Module:
    """Mask the smallest elements."""
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: Any, dim: int) -> Module:
    """Mask whole slices at random."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Module, name: str, amount: Any, n: Any, dim: int, importance_scores: Any = None
) -> Module:
    """Mask the slices of smallest norm."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Module:
    """Mask what a mask says."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]],
    pruning_method: Any,
    importance_scores: dict[tuple[Module, str], Tensor] | None = None,
    **kwargs: Any,
) -> None:
    """Mask over several parameters together: the smallest of all, for L1Unstructured."""
    given = list(parameters)
    scores = importance_scores or {}
    flat = TABLE["cat"].facade(
        [scores.get((m, n), getattr(m, n)).detach().reshape(-1) for m, n in given]
    )
    ones = [
        getattr(m, f"{n}_mask", TABLE["ones_like"].facade(getattr(m, n).detach())) for m, n in given
    ]
    default = TABLE["cat"].facade([mask.reshape(-1) for mask in ones])
    method = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. Found method '
            f"{pruning_method} of type {method.PRUNING_TYPE}"
        )
    final, at = _within(method, flat, default), 0
    for module, name in given:
        param = getattr(module, name)
        mask = final[at : at + param.numel()].reshape(*param.shape)
        custom_from_mask(module, name, mask)
        at += param.numel()


def _hook_of(module: Module, name: str) -> tuple[int, BasePruningMethod] | None:
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            return key, hook
    return None


def remove(module: Module, name: str) -> Module:
    """Make the pruning of a parameter permanent."""
    found = _hook_of(module, name)
    if found is None:
        raise ValueError(
            f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed"
        )
    found[1].remove(module)
    del module._forward_pre_hooks[found[0]]
    return module


def is_pruned(module: Module) -> bool:
    """Is any parameter of the module, or of one inside it, pruned?"""
    return any(
        isinstance(hook, BasePruningMethod)
        for part in module.modules()
        for hook in part._forward_pre_hooks.values()
    )
