"""The two wrappers: ToNnx (an nnx.Module around one of ours) and FromNnx (the other way round)."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from flax import nnx

from funtorch.bridge import PureModule, as_jax, as_tensor, from_jax, in_mode, to_jax
from funtorch.dispatch import read
from funtorch.export.runtime import populate
from funtorch.grad_mode import no_grad
from funtorch.nn.module import Module
from funtorch.nn.parameter import Parameter
from funtorch.tensor import wrap


class ToNnx(nnx.Module):
    """A module from here as an nnx.Module: nnx.Param by name in `params`, buffers in `buffers`.

    Call it as the module. `rngs` (nnx.Rngs, stream 'dropout') is needed where the module draws.
    nnx's `train()` and `eval()`, its own or those of a module around it, switch its mode; in training,
    submodules that were frozen by eval() stay so. Buffers are updated as the module does it. The
    module itself is left as it is until `write_back`.
    """

    def __init__(self, module: Module, rngs: nnx.Rngs | None = None) -> None:
        pure, params = to_jax(module)
        self.pure: PureModule = nnx.static(pure)
        self.params = nnx.Dict({name: nnx.Param(p) for name, p in params.items()})
        self.buffers = nnx.Dict({n: nnx.BatchStat(b) for n, b in pure.buffers.items()})
        self.rngs = rngs
        self.deterministic = not module.training  # what nnx's train() and eval() set

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's output; arrays in, arrays out."""
        params = {name: variable[...] for name, variable in self.params.items()}
        buffers = {name: variable[...] for name, variable in self.buffers.items()}
        rng = None
        if self.rngs is not None:
            stream = self.rngs.dropout if "dropout" in self.rngs else self.rngs.default
            rng = stream()
        with in_mode(self.pure.module, not self.deterministic):
            result, news = self.pure(
                params, *args, buffers=buffers, rng=rng, mutable=True, **kwargs
            )
        for name, new in news.items():
            if new is not buffers[name]:
                self.buffers[name][...] = new
        return result

    def write_back(self) -> Module:
        """The module that this was made from, with the present weights."""
        module = self.pure.module
        own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        with no_grad():
            for name, variable in [*self.params.items(), *self.buffers.items()]:
                own[name].copy_(as_tensor(variable[...]))
        return module


def to_nnx(module: Module, rngs: nnx.Rngs | None = None) -> ToNnx:
    """A module as an nnx.Module with the same weights (copied when either side writes)."""
    return ToNnx(module, rngs)


class FromNnx(Module):
    """An nnx.Module as a module here: nnx.Param become parameters, other variables buffers.

    Names are paths in nnx with dots: 'layers.0.kernel'. It computes what the nnx module does as it was
    given; train() and eval() make that nnx's own `train()` and `eval()`.
    """

    def __init__(self, module: Any) -> None:
        super().__init__()
        graph, params, rest = nnx.split(module, nnx.Param, ...)
        learned = {_name(path) for path, _ in nnx.to_flat_state(params)}
        arrays = {
            _name(path): v[...] for part in (params, rest) for path, v in nnx.to_flat_state(part)
        }
        state = {name: as_tensor(np.array(_raw(array))) for name, array in arrays.items()}
        self._learned = {n: n in learned and t.is_floating_point() for n, t in state.items()}
        for name, tensor in state.items():
            state[name] = Parameter(tensor) if self._learned[name] else tensor
        roles = {n: {"role": "param" if own else "buffer"} for n, own in self._learned.items()}
        populate(self, state, roles)
        self._pure = _Pure(graph, params, rest)
        self._call = from_jax(self._pure)
        self._modes: dict[bool, Any] = {}

    def train(self, mode: bool = True) -> FromNnx:
        """Training mode (or evaluation), of the nnx module too."""
        if mode not in self._modes:
            self._modes[mode] = from_jax(self._pure.in_mode(mode))
        self._call = self._modes[mode]
        super().train(mode)
        return self

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The nnx module's output as Tensors; what it changes is written to the buffers."""
        state = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        # Buffers as they are now: writing to them does not concern a tape that read them before.
        tensors = [state[n] if own else wrap(read(state[n])) for n, own in self._learned.items()]
        result, news = self._call(tensors, args, kwargs)
        with no_grad():
            for (name, learned), new in zip(self._learned.items(), news, strict=True):
                if not learned:
                    state[name].copy_(new)
        return result

    def write_back(self, module: Any) -> Any:
        """Give an nnx module of the same structure these weights."""
        own = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        state = nnx.state(module)
        for path, variable in nnx.to_flat_state(state):
            variable[...] = _as_like(as_jax(own[_name(path)].detach()), variable[...])
        nnx.update(module, state)
        return module


class _Pure:
    """The nnx module as a function (flat state, args, kwargs) -> (output, new flat state)."""

    def __init__(self, graph: Any, params: Any, rest: Any) -> None:
        self.graph = graph
        self.like, self.structure = jax.tree.flatten((params, rest))
        self.__name__ = "nnx_module"

    def __call__(self, state: list[Any], args: Any, kwargs: Any) -> Any:
        leaves = [_as_like(new, old) for new, old in zip(state, self.like, strict=True)]
        module = nnx.merge(self.graph, *jax.tree.unflatten(self.structure, leaves))
        result = module(*args, **kwargs)
        return result, [
            _raw(leaf) for leaf in jax.tree.leaves(nnx.split(module, nnx.Param, ...)[1:])
        ]

    def in_mode(self, training: bool) -> _Pure:
        """The same after nnx's train() or eval()."""
        module = nnx.merge(self.graph, *jax.tree.unflatten(self.structure, self.like))
        (module.train if training else module.eval)()
        return _Pure(*nnx.split(module, nnx.Param, ...))


def _name(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


def _raw(array: Any) -> Any:
    """Keys as the words they are made of; other arrays as they are."""
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(array)
    return array


def _as_like(array: Any, like: Any) -> Any:
    if jax.dtypes.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(array, impl=jax.random.key_impl(like))
    return array


def from_nnx(module: Any) -> FromNnx:
    """An nnx module (or a Linen module through nnx.bridge.ToNNX) as a module here."""
    return FromNnx(module)
