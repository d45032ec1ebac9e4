"""Mixtures of distributions of one family."""

from __future__ import annotations

from typing import Any

from funtorch.distributions import constraints
from funtorch.distributions._facades import torch
from funtorch.distributions.categorical import Categorical
from funtorch.distributions.distribution import Distribution
from funtorch.grad_mode import no_grad
from funtorch.tensor import Tensor

__all__ = ["MixtureSameFamily"]


class MixtureSameFamily(Distribution):
    """The last batch dimension of the components is chosen by a categorical distribution."""

    arg_constraints: Any = {}  # noqa: RUF012
    has_rsample = False

    def __init__(
        self,
        mixture_distribution: Any,
        component_distribution: Any,
        validate_args: bool | None = None,
    ) -> None:
        mix, comp = mixture_distribution, component_distribution
        if not isinstance(mix, Categorical):
            raise ValueError(
                "The Mixture distribution needs to be an instance of "
                "torch.distributions.Categorical"
            )
        if not isinstance(comp, Distribution):
            raise ValueError(
                "The Component distribution need to be an instance of "
                "torch.distributions.Distribution"
            )
        batch = comp.batch_shape[:-1]
        for have, want in zip(reversed(mix.batch_shape), reversed(batch), strict=False):
            if have != 1 and want != 1 and have != want:
                raise ValueError(
                    f"`mixture_distribution.batch_shape` ({mix.batch_shape}) is not "
                    "compatible with `component_distribution.batch_shape`"
                    f"({batch})"
                )
        if mix.logits.shape[-1] != comp.batch_shape[-1]:
            raise ValueError(
                f"`mixture_distribution component` ({mix.logits.shape[-1]}) does not "
                "equal `component_distribution.batch_shape[-1]`"
                f" ({comp.batch_shape[-1]})"
            )
        self._mixture_distribution, self._component_distribution = mix, comp
        self._num_component = mix.logits.shape[-1]
        self._event_ndims = len(comp.event_shape)
        super().__init__(batch, comp.event_shape, validate_args=validate_args)

    def _expand_into(self, new: Any, batch_shape: Any) -> None:
        new._component_distribution = self._component_distribution.expand(
            (*batch_shape, self._num_component)
        )
        new._mixture_distribution = self._mixture_distribution.expand(batch_shape)
        new._num_component, new._event_ndims = self._num_component, self._event_ndims

    @constraints.dependent_property
    def support(self) -> Any:
        """That of the components."""
        return constraints.MixtureSameFamilyConstraint(self._component_distribution.support)

    @property
    def mixture_distribution(self) -> Any:
        """Which component."""
        return self._mixture_distribution

    @property
    def component_distribution(self) -> Any:
        """The components."""
        return self._component_distribution

    def _weights(self) -> Tensor:
        probs = self.mixture_distribution.probs
        return probs.reshape((*probs.shape, *[1] * self._event_ndims))

    @property
    def mean(self) -> Tensor:
        """Weighted mean."""
        return (self._weights() * self.component_distribution.mean).sum(-1 - self._event_ndims)

    @property
    def variance(self) -> Tensor:
        """Within the components, and between them."""
        weights, dim = self._weights(), -1 - self._event_ndims
        within = (weights * self.component_distribution.variance).sum(dim)
        apart = self.component_distribution.mean - self.mean.unsqueeze(dim)
        return within + (weights * apart.pow(2.0)).sum(dim)

    def cdf(self, x: Tensor) -> Tensor:
        """Weighted sum."""
        x = x.unsqueeze(-1 - self._event_ndims)
        return (self.component_distribution.cdf(x) * self.mixture_distribution.probs).sum(-1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Logarithm of the weighted sum of densities."""
        if self._validate_args:
            self._validate_sample(x)
        own = self.component_distribution.log_prob(x.unsqueeze(-1 - self._event_ndims))
        return (own + self.mixture_distribution.logits.log_softmax(-1)).logsumexp(dim=-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Samples of all components, of which one is taken."""
        with no_grad():
            dim = len(sample_shape) + len(self.batch_shape)
            index = self.mixture_distribution.sample(sample_shape)
            drawn = self.component_distribution.sample(sample_shape)
            index = index.reshape((*index.shape, *[1] * (self._event_ndims + 1)))
            wide = index.expand((*index.shape[: dim + 1], *self.event_shape))
            return torch.gather(drawn, dim, wide).squeeze(dim)

    def __repr__(self) -> str:
        return (
            f"MixtureSameFamily(\n  {self.mixture_distribution},\n  {self.component_distribution})"
        )
