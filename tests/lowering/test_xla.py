"""Options of XLA that a jaxlib may lack."""

import jax
import jax.numpy as jnp
import pytest
from funtorch.lowering import xla


@pytest.fixture
def lowered():
    return jax.jit(lambda x: x + 1).lower(jnp.ones(3))


@pytest.mark.parametrize("brief", [False, True])
def test_an_option_that_is_gone_costs_nothing_but_speed(lowered, monkeypatch, brief):
    for options in ("_OPTIONS", "_BRIEF"):
        monkeypatch.setattr(xla, options, {"cpu": {"xla_cpu_that_is_no_more": True}})
    assert xla.compile_lowered(lowered, "cpu", brief=brief)(jnp.ones(3)).tolist() == [2, 2, 2]
    assert xla._OPTIONS == xla._BRIEF == {}


def test_what_the_user_set_stands(lowered, monkeypatch):
    monkeypatch.setattr(xla, "_OPTIONS", {"cpu": {"xla_cpu_that_is_no_more": True}})
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_that_is_no_more=false")
    assert xla.compile_lowered(lowered, "cpu")(jnp.ones(3)).tolist() == [2, 2, 2]
    assert xla._OPTIONS
