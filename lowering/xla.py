"""How XLA is asked to compile: the options that a platform needs to run at its best.

Measured with jaxlib 0.10.2 on two AVX-512 cores, milliseconds per training step:

- XLA:CPU hands convolutions to YNNPACK, which runs large ones on one core: 3x3 over [16, 64, 32, 32]
  takes 7.0 (weights' gradient 9.9) against 4.3 (4.6) with XLA's own, without padding 28 against 4.2.
- It hands reductions to YNNPACK too, which splits fused loops: GPT 54 against 32, BERT 45 against 30.
- Matrix products are best left there: LSTM 23 against 30, GPT 42 against 53 (on a busy machine).

What YNNPACK does needs no machine code to be made, so what will be run a few times only, the pieces of a new
trace, has its reductions from there too: a 12-block GPT's first step 2.6 -> 2.0 s, ResNet-34's 9.2 -> 7.0 s.
(It offers elementwise functions as well; JAX leaves those off.)

What the user says of an option in XLA_FLAGS stands.
"""

from __future__ import annotations

import os
from typing import Any

import jax

_LIBRARY = "xla_cpu_experimental_ynn_fusion_type"
_PRODUCTS, _REDUCTIONS = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT", "LIBRARY_FUSION_TYPE_REDUCE"

_OPTIONS: dict[str, dict[str, Any]] = {"cpu": {_LIBRARY: _PRODUCTS}}
_BRIEF: dict[str, dict[str, Any]] = {"cpu": {_LIBRARY: f"{_PRODUCTS},{_REDUCTIONS}"}}


def compile_lowered(lowered: Any, platform: str | None = None, *, brief: bool = False) -> Any:
    """Compile a `jax.stages.Lowered` for the platform ('cpu', 'gpu'; None: JAX's default).

    brief: rather quickly than well.
    """
    options = (_BRIEF if brief else _OPTIONS).get(platform or jax.default_backend(), {})
    flags = os.environ.get("XLA_FLAGS", "")
    options = {name: value for name, value in options.items() if name not in flags}
    if not options:
        return lowered.compile()
    try:
        return lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        if not any(option in str(error) for option in options):
            raise
        # Another jaxlib, which does not have the option: it costs speed, nothing else.
        _OPTIONS.clear()
        _BRIEF.clear()
        return lowered.compile()
