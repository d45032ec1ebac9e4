"""The base of optimisers: parameter groups, state, hooks, and the barrier after each step."""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from funtorch import lowering
from funtorch.composed import Composed
from funtorch.grad_mode import enable_grad, no_grad
from funtorch.ops.creation import zeros_like
from funtorch.optim.foreign import (  # noqa: F401  (names that optimisers elsewhere import from here)
    ParamsT,
    _default_to_fused_or_foreach,
    _get_capturable_supported_devices,
    _get_value,
    _group_tensors_by_device_and_dtype,
    _use_grad_for_differentiable,
)
from funtorch.tape import Handle
from funtorch.tensor import Tensor, dtype_of
from funtorch.views import store

GLOBAL_HOOKS: dict[str, OrderedDict[int, Callable[..., Any]]] = {
    "pre": OrderedDict(),
    "post": OrderedDict(),
}


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


class Optimizer:
    """Base class: subclasses write `step`, most of them through `_update`."""

    _group_tensors_by_device_and_dtype = staticmethod(_group_tensors_by_device_and_dtype)

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or "
                f"dicts, but got {params.type()}"
            )
        self.defaults = defaults
        self.state: defaultdict[Any, Any] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(dict(group))

    @functools.cached_property
    def _hooks(self) -> dict[str, OrderedDict[int, Callable[..., Any]]]:
        """By occasion. Optimisers that wrap another one need not call `__init__`."""
        names = ("step_pre", "step_post", "save_pre", "save_post", "load_pre", "load_post")
        return {name: OrderedDict() for name in names}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _as_step(cls.__dict__["step"])  # type: ignore[method-assign]

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __repr__(self) -> str:
        text = f"{type(self).__name__} ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            for key in sorted(group):
                if key != "params":
                    text += f"    {key}: {group[key]}\n"
        return text + ")"

    # Groups ------------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with options of their own."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, Tensor):
            params = [params]
        elif isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the "
                "ordering of tensors in sets will change between runs. Please use a list instead."
            )
        params = list(params)
        if params and isinstance(params[0], tuple):
            param_group["param_names"] = [name for name, _ in params]
            params = [p for _, p in params]
        param_group["params"] = params
        named = "param_names" in param_group
        if self.param_groups and ("param_names" in self.param_groups[0]) != named:
            raise ValueError(
                "all optimizer param groups should be with/without names. cannot add param group "
                f"{'with' if named else 'without'} names to the optimizer"
            )
        for param in params:
            if not isinstance(param, Tensor):
                raise TypeError(
                    f"optimizer can only optimize Tensors, but one of the params is {type(param)}"
                )
            if not self.defaults.get("differentiable") and not (param.is_leaf or param._grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(
                    f"parameter group didn't specify a value of required optimization parameter "
                    f"{name}"
                )
            param_group.setdefault(name, default)
        known = {id(p) for group in self.param_groups for p in group["params"]}
        if any(id(p) in known for p in params):
            raise ValueError("some parameters appear in more than one parameter group")
        if len({id(p) for p in params}) != len(params):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in "
                "future, this will cause an error",
                stacklevel=3,
            )
        self.param_groups.append(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients (or make them zero)."""
        for group in self.param_groups:
            for param in group["params"]:
                if param._grad is None:
                    continue
                if set_to_none:
                    param._grad = None
                else:
                    param._grad = zeros_like(param._grad)

    # Steps -------------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update. With a closure, call it first; returns its loss."""
        loss = self._loss_of(closure)
        for group in self.param_groups:
            self._update(group)
        return loss

    def _update(self, group: dict[str, Any]) -> None:
        raise NotImplementedError

    @staticmethod
    def _loss_of(closure: Callable[[], Any] | None) -> Any:
        if closure is None:
            return None
        with enable_grad():
            return closure()

    takes_sparse = False

    def _with_gradients(self, group: dict[str, Any]) -> tuple[list[Tensor], list[Any]]:
        """(parameters that have a gradient, their gradients)."""
        params = [p for p in group["params"] if p._grad is not None]
        grads = [p._grad for p in params]
        if not self.takes_sparse and any(isinstance(g, Composed) for g in grads):
            raise RuntimeError(
                f"{type(self).__name__} does not support sparse gradients, please consider "
                "SparseAdam instead"
            )
        return params, grads

    @staticmethod
    def _write(targets: Sequence[Tensor], values: Sequence[Tensor]) -> None:
        for target, value in zip(targets, values, strict=True):
            store(target, value._value)

    # Hooks -------------------------------------------------------------------------------------

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """`hook(optimizer, args, kwargs)` before a step."""
        return Handle(self._hooks["step_pre"], hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> Handle:
        """`hook(optimizer, args, kwargs)` after a step."""
        return Handle(self._hooks["step_post"], hook)

    def register_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> Handle:
        """`hook(optimizer)` before `state_dict`."""
        return _registered(self._hooks["save_pre"], hook, prepend)

    def register_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> Handle:
        """`hook(optimizer, state_dict)` after `state_dict`; may return another."""
        return _registered(self._hooks["save_post"], hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> Handle:
        """`hook(optimizer, state_dict)` before loading; may return another."""
        return _registered(self._hooks["load_pre"], hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> Handle:
        """`hook(optimizer)` after loading."""
        return _registered(self._hooks["load_post"], hook, prepend)

    # State -------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """State by parameter number, and the groups; real PyTorch loads it too."""
        for hook in self._hooks["save_pre"].values():
            hook(self)
        number: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            packed = {k: v for k, v in group.items() if k != "params"}
            for p in group["params"]:
                number.setdefault(id(p), len(number))
            packed["params"] = [number[id(p)] for p in group["params"]]
            groups.append(packed)
        state = {(number[id(k)] if isinstance(k, Tensor) else k): v for k, v in self.state.items()}
        result: dict[str, Any] = {"state": state, "param_groups": groups}
        for hook in self._hooks["save_post"].values():
            found = hook(self, result)
            result = result if found is None else found
        return result

    @no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state. Raises ValueError if the groups do not fit."""
        state_dict = dict(state_dict)
        for hook in self._hooks["load_pre"].values():
            found = hook(self, state_dict)
            state_dict = state_dict if found is None else found
        saved = deepcopy(state_dict["param_groups"])
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        for theirs, ours in zip(saved, self.param_groups, strict=True):
            if len(theirs["params"]) != len(ours["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of "
                    "optimizer's group"
                )
        by_number = {
            i: p
            for theirs, ours in zip(saved, self.param_groups, strict=True)
            for i, p in zip(theirs["params"], ours["params"], strict=True)
        }
        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, value in state_dict["state"].items():
            param = by_number.get(key)
            state[key if param is None else param] = _fitted(param, value)
        self.state = state
        for theirs, ours in zip(saved, self.param_groups, strict=True):
            ours.update({k: v for k, v in theirs.items() if k != "params"})
        for hook in self._hooks["load_post"].values():
            hook(self)


def _fitted(param: Tensor | None, value: Any, key: str | None = None) -> Any:
    """State in the dtype and on the device of its parameter; step counters stay as they are."""
    if isinstance(value, Tensor):
        if param is None or key == "step":
            return value.clone()
        if param.is_floating_point():
            return value.to(dtype=dtype_of(param), device=param.device, copy=True)
        return value.to(device=param.device, copy=True)
    if isinstance(value, dict):
        return {k: _fitted(param, v, k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_fitted(param, v) for v in value)
    return value


def _registered(hooks: OrderedDict[int, Any], hook: Callable[..., Any], first: bool) -> Handle:
    handle = Handle(hooks, hook)
    if first:
        hooks.move_to_end(handle.id, last=False)
    return handle


def _as_step(step: Callable[..., Any]) -> Callable[..., Any]:
    """Hooks around a step, no taping within, and the barrier at its end."""

    @functools.wraps(step)
    def wrapper(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        for hook in [*GLOBAL_HOOKS["pre"].values(), *self._hooks["step_pre"].values()]:
            found = hook(self, args, kwargs)
            if found is not None:
                args, kwargs = found
        with no_grad(), lowering.scope(id(self), type(self).__name__):
            result = step(self, *args, **kwargs)
        for hook in [*self._hooks["step_post"].values(), *GLOBAL_HOOKS["post"].values()]:
            hook(self, args, kwargs)
        lowering.flush()
        return result

    return wrapper


Optimizer.step = _as_step(Optimizer.step)  # type: ignore[method-assign]


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> Handle:
    """`hook(optimizer, args, kwargs)` before a step of any optimiser."""
    return Handle(GLOBAL_HOOKS["pre"], hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> Handle:
    """`hook(optimizer, args, kwargs)` after a step of any optimiser."""
    return Handle(GLOBAL_HOOKS["post"], hook)


def check_not_negative(**values: Any) -> None:
    """Raise ValueError for a negative hyperparameter, as PyTorch words it."""
    words = {
        "lr": "learning rate",
        "eps": "epsilon value",
        "weight_decay": "weight_decay value",
        "momentum": "momentum value",
        "rho": "rho value",
        "alpha": "alpha value",
    }
    for name, value in values.items():
        if not isinstance(value, Tensor) and not value >= 0.0:
            raise ValueError(f"Invalid {words.get(name, name)}: {value}")


def check_tensor_lr(lr: Any, unsupported: bool | None = False) -> None:
    """Raise ValueError for a rate that is a tensor of more than one element.

    unsupported: with these options PyTorch takes no tensor.
    """
    if not isinstance(lr, Tensor):
        return
    if unsupported:
        raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
    if lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")


def check_betas(betas: tuple[Any, Any]) -> None:
    """Raise ValueError for momentum coefficients outside [0, 1)."""
    if isinstance(betas[0], Tensor) != isinstance(betas[1], Tensor):
        raise ValueError("betas must be either both floats or both Tensors")
    for i, beta in enumerate(betas):
        if not isinstance(beta, Tensor) and not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
