"""The two wrappers: ToNnx (an nnx.Module around one of ours) and FromNnx (the other way round)."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from flax import nnx

from funtorch.bridge import PureModule, as_jax, as_tensor, from_jax, to_jax
from funtorch.grad_mode import no_grad
from funtorch.nn.module import Module
from funtorch.nn.parameter import Parameter
from funtorch.tensor import Tensor


class ToNnx(nnx.Module):
    """A module from here as an nnx.Module: nnx.Param by name in `params`, buffers in `buffers`.

    Call it as the module. `rngs` (nnx.Rngs, stream 'dropout') is needed where the module draws.
    `train()` and `eval()` switch the module's mode; buffers are updated as the module does it.
    """

    def __init__(self, module: Module, rngs: nnx.Rngs | None = None) -> None:
        pure, params = to_jax(module)
        self.pure: PureModule = nnx.static(pure)
        self.params = nnx.Dict({name: nnx.Param(p) for name, p in params.items()})
        self.buffers = nnx.Dict({n: nnx.BatchStat(b) for n, b in pure.buffers.items()})
        self.rngs = rngs
        self.training = module.training

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's output; arrays in, arrays out."""
        params = {name: variable[...] for name, variable in self.params.items()}
        buffers = {name: variable[...] for name, variable in self.buffers.items()}
        rng = None
        if self.rngs is not None:
            stream = self.rngs.dropout if "dropout" in self.rngs else self.rngs.default
            rng = stream()
        self.pure.module.train(self.training)
        result, news = self.pure(params, *args, buffers=buffers, rng=rng, mutable=True, **kwargs)
        for name, new in news.items():
            if new is not buffers[name]:
                self.buffers[name][...] = new
        return result

    def train(self, **attributes: Any) -> None:
        """Training mode."""
        self.training = True

    def eval(self, **attributes: Any) -> None:
        """Evaluation mode."""
        self.training = False

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

    Names are paths in nnx with dots: 'layers.0.kernel'.
    """

    def __init__(self, module: Any) -> None:
        super().__init__()
        graph, params, rest = nnx.split(module, nnx.Param, ...)
        self._names: list[tuple[str, Any, bool]] = []
        for variables, learned in ((params, True), (rest, False)):
            for path, variable in nnx.to_flat_state(variables):
                self._adopt(path, _raw(variable[...]), learned)
        self._call = from_jax(_Pure(graph, params, rest))
        self._keys = [
            isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            for leaf in jax.tree.leaves((params, rest))
        ]

    def _adopt(self, path: tuple[Any, ...], array: Any, learned: bool) -> None:
        owner: Module = self
        for part in path[:-1]:
            if str(part) not in owner._modules:
                owner.add_module(str(part), Module())
            owner = owner._modules[str(part)]
        name = ".".join(map(str, path))
        tensor = as_tensor(np.array(array))
        if learned and tensor.is_floating_point():
            owner.register_parameter(str(path[-1]), Parameter(tensor))
        else:
            owner.register_buffer(str(path[-1]), tensor)
        self._names.append((name, path, learned))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The nnx module's output as Tensors; what it changes is written to the buffers."""
        state = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        tensors = [state[name] for name, _, _ in self._names]
        result, news = self._call(tensors, args, kwargs)
        with no_grad():
            for (name, _, learned), new in zip(self._names, news, strict=True):
                if not learned:
                    state[name].copy_(new)
        return result

    def write_back(self, module: Any) -> Any:
        """Give an nnx module of the same structure these weights."""
        own = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        state = nnx.state(module)
        for path, variable in nnx.to_flat_state(state):
            variable[...] = _as_like(as_jax(own[".".join(map(str, path))].detach()), variable[...])
        nnx.update(module, state)
        return module


class _Pure:
    """The nnx module as a function (flat state, args, kwargs) -> (output, new flat state)."""

    def __init__(self, graph: Any, params: Any, rest: Any) -> None:
        self.graph = graph
        leaves, self.structure = jax.tree.flatten((params, rest))
        self.like = leaves
        self.__name__ = "nnx_module"

    def __call__(self, state: list[Any], args: Any, kwargs: Any) -> Any:
        leaves = [_as_like(new, old) for new, old in zip(state, self.like, strict=True)]
        module = nnx.merge(self.graph, *jax.tree.unflatten(self.structure, leaves))
        result = module(*args, **kwargs)
        _, params, rest = nnx.split(module, nnx.Param, ...)
        return result, [_raw(leaf) for leaf in jax.tree.leaves((params, rest))]


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


__all__ = ["FromNnx", "Tensor", "ToNnx", "from_nnx", "to_nnx"]
