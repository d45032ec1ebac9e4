"""Control flow that is part of a program: PyTorch's `torch._higher_order_ops`.

Functions are captured once, as under `torch.compile`, and become one recorded op: `lax.cond`,
`lax.while_loop` or `lax.scan`, compiled with what is around it, differentiated, exported.
"""

from funtorch._higher_order_ops._common import UncapturedHigherOrderOpError
from funtorch._higher_order_ops.associative_scan import associative_scan
from funtorch._higher_order_ops.cond import cond
from funtorch._higher_order_ops.map import map
from funtorch._higher_order_ops.scan import scan
from funtorch._higher_order_ops.while_loop import while_loop

__all__ = ["associative_scan", "cond", "map", "scan", "while_loop"]
