"""Sobol sequences equal PyTorch's."""

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")


def points(t, dimension, scramble):
    engine = t.quasirandom.SobolEngine(dimension, scramble, seed=7 if scramble else None)
    drawn = [engine.draw(n) for n in (1, 1, 3, 16)]
    engine.fast_forward(5)
    drawn += [engine.draw(4), engine.quasi.clone(), engine.shift, engine.sobolstate]
    engine.reset().fast_forward(3)
    drawn += [engine.draw(2, dtype=t.float64), engine.reset().draw_base2(3, dtype=t.float64)]
    return repr(engine), [(str(d.dtype), d.numpy()) for d in drawn]


@pytest.mark.parametrize("scramble", [False, True])
@pytest.mark.parametrize("dimension", [1, 40])
def test_sobol(dimension: int, scramble: bool) -> None:
    (ours, mine), (theirs, wanted) = (points(t, dimension, scramble) for t in (funtorch, torch))
    assert ours == theirs
    for (kind, one), (other_kind, other) in zip(mine, wanted, strict=True):
        assert kind == other_kind
        np.testing.assert_array_equal(one, other)


def test_refusals() -> None:
    for t in (funtorch, torch):
        with pytest.raises(ValueError, match="Supported range"):
            t.quasirandom.SobolEngine(0)
        engine = t.quasirandom.SobolEngine(2)
        engine.draw(3)
        with pytest.raises(ValueError, match="power of 2"):
            engine.draw_base2(2)
