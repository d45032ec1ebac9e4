"""The base of all distributions."""

from __future__ import annotations

import warnings
from typing import Any

from funtorch.autograd import grad
from funtorch.distributions import constraints
from funtorch.distributions.utils import lazy_property
from funtorch.grad_mode import no_grad
from funtorch.size import Size
from funtorch.tensor import Tensor

__all__ = ["Distribution", "ExponentialFamily"]


class Distribution:
    """A distribution over events of shape `event_shape`, `batch_shape` of them at once."""

    has_rsample: Any = False
    has_enumerate_support: Any = False
    _validate_args = __debug__

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Turn checks of parameters and values on or off for all distributions."""
        if value not in (True, False):
            raise ValueError
        Distribution._validate_args = value

    def __init__(
        self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None
    ) -> None:
        self._batch_shape = Size(batch_shape)
        self._event_shape = Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._check_parameters()

    def _check_parameters(self) -> None:
        try:
            arg_constraints = self.arg_constraints
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `arg_constraints`. Please set "
                "`arg_constraints = {}` or initialize the distribution with "
                "`validate_args=False` to turn off validation.",
                stacklevel=3,
            )
            return
        for name, constraint in arg_constraints.items():
            if constraints.is_dependent(constraint):
                continue
            if name not in self.__dict__ and isinstance(
                getattr(type(self), name, None), lazy_property | property
            ):
                continue  # derived from the parameters given
            value = getattr(self, name)
            if not bool(constraint.check(value).all()):
                raise ValueError(
                    f"Expected parameter {name} ({type(value).__name__} of shape "
                    f"{tuple(value.shape)}) of distribution {self!r} to satisfy the constraint "
                    f"{constraint!r}, but found invalid values:\n{value}"
                )

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution for a larger batch."""
        new = self._get_checked_instance(Distribution, _instance)
        batch_shape = Size(batch_shape)
        self._expand_into(new, batch_shape)
        Distribution.__init__(new, batch_shape, new._expanded_event(self), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _expanded_event(self, source: Any) -> Any:
        return source._event_shape

    def _expand_into(self, new: Any, batch_shape: Size) -> None:
        """Give `new` this distribution's parameters in a larger batch: those named in `_params`."""
        for name in self._params:
            if name in self.__dict__:
                own = self.__dict__[name]
                trailing = own.shape[own.ndim - self._depth(name) :]
                new.__dict__[name] = own.expand((*batch_shape, *trailing))

    _params: tuple[str, ...] = ()
    _depths: dict[str, int] = {}  # noqa: RUF012  (read only)

    def _depth(self, name: str) -> int:
        return self._depths.get(name, 0)

    @property
    def batch_shape(self) -> Size:
        """Shape of the batch."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """Shape of one event."""
        return self._event_shape

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """Constraint of each parameter."""
        raise NotImplementedError

    @property
    def support(self) -> Any:
        """Constraint of the samples."""
        raise NotImplementedError

    @property
    def mean(self) -> Tensor:
        """Mean. -> [batch, event]"""
        raise NotImplementedError

    @property
    def mode(self) -> Tensor:
        """Mode. -> [batch, event]"""
        raise NotImplementedError(f"{self.__class__} does not implement mode")

    @property
    def variance(self) -> Tensor:
        """Variance. -> [batch, event]"""
        raise NotImplementedError

    @property
    def stddev(self) -> Tensor:
        """Standard deviation. -> [batch, event]"""
        return self.variance.sqrt()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Samples without gradient. -> [sample, batch, event]"""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples that are differentiable in the parameters. -> [sample, batch, event]"""
        raise NotImplementedError

    def sample_n(self, n: int) -> Tensor:
        """n samples; superseded by `sample((n,))`."""
        warnings.warn(
            "sample_n(n) will be deprecated. Use .sample((n,)) instead.", UserWarning, stacklevel=2
        )
        return self.sample((n,))

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density. value: [sample, batch, event] -> [sample, batch]"""
        raise NotImplementedError

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of being at most `value`."""
        raise NotImplementedError

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values. -> [values, batch, event]"""
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """Entropy in nats. -> [batch]"""
        raise NotImplementedError

    def perplexity(self) -> Tensor:
        """Exponential of the entropy. -> [batch]"""
        return self.entropy().exp()

    def _extended_shape(self, sample_shape: Any = ()) -> Size:
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    def _validate_sample(self, value: Any) -> None:
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        start = value.ndim - len(self._event_shape)
        if value.shape[start:] != self._event_shape:
            raise ValueError(
                "The right-most size of value must match event_shape: "
                f"{value.shape} vs {self._event_shape}."
            )
        actual, expected = value.shape, self._batch_shape + self._event_shape
        for i, j in zip(reversed(actual), reversed(expected), strict=False):
            if i != 1 and j != 1 and i != j:
                raise ValueError(
                    f"Value is not broadcastable with batch_shape+event_shape: {actual} vs "
                    f"{expected}."
                )
        try:
            support = self.support
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `support` to enable sample validation. "
                "Please initialize the distribution with `validate_args=False` to turn "
                "off validation.",
                stacklevel=3,
            )
            return
        if not bool(support.check(value).all()):
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(value.shape)}) "
                f"to be within the support ({support!r}) of the distribution {self!r}, but found "
                f"invalid values:\n{value}"
            )

    def _get_checked_instance(self, cls: type, _instance: Any = None) -> Any:
        if _instance is not None:
            return _instance
        owner = next(c for c in type(self).__mro__ if "__init__" in vars(c))
        if not owner.__module__.startswith(__name__.rpartition(".")[0]):
            raise NotImplementedError(
                f"Subclass {type(self).__name__} of {cls.__name__} that defines a custom __init__ "
                "method must also define a custom .expand() method."
            )
        return type(self).__new__(type(self))

    def __repr__(self) -> str:
        shown = []
        for name in self.arg_constraints:
            if name in self.__dict__:
                value = self.__dict__[name]
                shown.append(f"{name}: {value if value.numel() == 1 else value.size()}")
        return f"{type(self).__name__}({', '.join(shown)})"


class ExponentialFamily(Distribution):
    """p(x) = exp(<t(x), theta> - F(theta) + k(x)); the entropy follows from F alone."""

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self) -> float:
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """Entropy by the Bregman divergence of the log normaliser. -> [batch]"""
        result = -self._mean_carrier_measure
        params = [p.detach().requires_grad_() for p in self._natural_params]
        log_normalizer = self._log_normalizer(*params)
        gradients = grad([log_normalizer.sum()], params, create_graph=True)
        result = result + log_normalizer
        for param, gradient in zip(params, gradients, strict=True):
            result = result - (param * gradient).reshape((*self._batch_shape, -1)).sum(-1)
        return result
