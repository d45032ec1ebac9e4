"""Options of XLA that a jaxlib may lack."""

import jax
import jax.numpy as jnp
import pytest
from funtorch.lowering import xla


@pytest.fixture
def lowered():
    return jax.jit(lambda x: x + 1).lower(jnp.ones(3))


def test_an_option_that_is_gone_costs_nothing_but_speed(lowered, monkeypatch):
    monkeypatch.setattr(xla, "_OPTIONS", {"cpu": {"xla_cpu_that_is_no_more": True}})
    assert xla.compile_lowered(lowered, "cpu")(jnp.ones(3)).tolist() == [2, 2, 2]
    assert xla._OPTIONS == {}


def test_what_the_user_set_stands(lowered, monkeypatch):
    monkeypatch.setattr(xla, "_OPTIONS", {"cpu": {"xla_cpu_that_is_no_more": True}})
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_that_is_no_more=false")
    assert xla.compile_lowered(lowered, "cpu")(jnp.ones(3)).tolist() == [2, 2, 2]
    assert xla._OPTIONS
