"""PyTorch's programming model on XLA. `import funtorch as torch`."""

import gc as _gc
import sys as _sys
from importlib import import_module as _import_module
from types import ModuleType as _ModuleType

# Importing makes many objects and drops few: the collector would take a fifth of the time.
_collecting = _gc.isenabled()
_gc.disable()

from funtorch import _C, autograd, dtypes, ops, overrides, random
from funtorch import layouts as _layouts
from funtorch import qschemes as _qschemes
from funtorch._surface import bind as _bind
from funtorch.autograd import engine as _engine
from funtorch.autograd import function as _function
from funtorch.device import device, set_default_device
from funtorch.dtypes import dtype, get_default_dtype, promote_types, set_default_dtype
from funtorch.explain import explain
from funtorch.grad_mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from funtorch.ops import creation as _creation
from funtorch.ops import memory as _memory
from funtorch.ops._linalg import LinAlgError as _LinAlgError
from funtorch.printing import set_printoptions
from funtorch.random import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from funtorch.size import Size
from funtorch.tensor import Tensor

for _name, _dtype in dtypes.iter_dtypes().items():
    globals()[_name] = _dtype

for _name, _format in _memory.FORMATS.items():
    globals()[_name] = _format

memory_format = _memory.memory_format
for _name, _layout in _layouts.LAYOUTS.items():
    globals()[_name] = _layout

layout = _layouts.Layout
globals().update(_qschemes.SCHEMES)
qscheme = _qschemes.Scheme
_engine._cast_op.append(_memory._cast)
_function.zeros_of.append(_creation.zeros_at)

torch = _sys.modules[__name__]  # `from torch import torch` is written now and then
special = _ModuleType("funtorch.special")
linalg = _ModuleType("funtorch.linalg")
fft = _ModuleType("funtorch.fft")
for _space in (special, linalg, fft):
    _sys.modules[_space.__name__] = _space
linalg.LinAlgError = _LinAlgError

from funtorch import nested, nn, quantized, sparse

_bind(
    {
        "torch": _sys.modules[__name__],
        "functional": nn.functional,
        "special": special,
        "linalg": linalg,
        "fft": fft,
    }
)

from funtorch import (
    amp,
    backends,
    compiler,
    cpu,
    cuda,
    func,
    optim,
    serialization,
    utils,
    version,
)
from funtorch import toplevel as _toplevel
from funtorch import torch_version as _torch_version
from funtorch._higher_order_ops import cond, while_loop
from funtorch.amp.autocast_mode import (
    autocast,
    autocast_decrement_nesting,
    autocast_increment_nesting,
    clear_autocast_cache,
    get_autocast_cpu_dtype,
    get_autocast_dtype,
    get_autocast_gpu_dtype,
    is_autocast_cache_enabled,
    is_autocast_cpu_enabled,
    is_autocast_enabled,
    set_autocast_cache_enabled,
    set_autocast_dtype,
    set_autocast_enabled,
)
from funtorch.amp.grad_scaler import GradScaler
from funtorch.bridge import from_jax, to_jax
from funtorch.checks import (
    _assert_async,
    _check,
    _check_index,
    _check_is_size,
    _check_not_implemented,
    _check_tensor_all,
    _check_tensor_all_with,
    _check_type,
    _check_value,
    _check_with,
)
from funtorch.compiler import compile
from funtorch.lowering import OutOfMemoryError
from funtorch.serialization import load, save
from funtorch.serialization.archive import PyTorchFileReader
from funtorch.storage import STORAGE_CLASSES as _STORAGE_CLASSES
from funtorch.storage import TypedStorage, UntypedStorage, is_storage
from funtorch.symbols import (
    SymBool,
    SymFloat,
    SymInt,
    sym_float,
    sym_int,
    sym_ite,
    sym_max,
    sym_min,
    sym_not,
    sym_sum,
)
from funtorch.toplevel import (
    _assert,
    are_deterministic_algorithms_enabled,
    can_cast,
    detach_,
    e,
    get_default_device,
    get_deterministic_debug_mode,
    get_device,
    get_device_module,
    get_float32_matmul_precision,
    get_num_interop_threads,
    get_num_threads,
    inf,
    is_complex,
    is_conj,
    is_deterministic_algorithms_warn_only_enabled,
    is_distributed,
    is_floating_point,
    is_inference,
    is_neg,
    is_nonzero,
    is_same_size,
    is_signed,
    is_tensor,
    is_warn_always_enabled,
    nan,
    newaxis,
    numel,
    pi,
    set_default_tensor_type,
    set_deterministic_debug_mode,
    set_float32_matmul_precision,
    set_flush_denormal,
    set_num_interop_threads,
    set_num_threads,
    set_warn_always,
    split,
    typename,
    use_deterministic_algorithms,
)
from funtorch.typeinfo import finfo, iinfo
from funtorch.utils.dlpack import from_dlpack, to_dlpack

globals().update(_toplevel.tensor_types("cpu"))
globals().update(_STORAGE_CLASSES)
Storage = _STORAGE_CLASSES["FloatStorage"]
vmap = func.vmap
Event, Stream = cuda.Event, cuda.Stream
legacy_contiguous_format = contiguous_format  # noqa: F821  (bound from FORMATS above)

__version__ = _torch_version.__version__

if _collecting:
    _gc.enable()

_LAZY = (
    "__config__",
    "_custom_ops",
    "_dynamo",
    "_subclasses",
    "_tensor_str",
    "accelerator",
    "ao",
    "distributed",
    "distributions",
    "export",
    "flax",
    "futures",
    "fx",
    "hub",
    "jit",
    "library",
    "masked",
    "mps",
    "multiprocessing",
    "onnx",
    "profiler",
    "quantization",
    "quasirandom",
    "signal",
    "tensorflow",
    "testing",
    "types",
    "xpu",
)
_OF_JIT = ("ScriptFunction", "ScriptModule")
_NAMESPACES = {
    *_LAZY,
    *("_higher_order_ops", "amp", "autograd", "backends", "compiler", "cpu", "cuda"),
    *("fft", "func", "linalg", "nn", "ops", "optim", "overrides", "random"),
    *("serialization", "sparse", "special", "storage", "utils", "version"),
}


def __getattr__(name: str) -> object:
    """Packages that cost nothing until they are asked for."""
    if name in _LAZY:
        return _import_module(f"funtorch.{name}")
    if name in _OF_JIT:
        return getattr(_import_module("funtorch.jit"), name)
    raise AttributeError(
        f"module 'funtorch' has no attribute {name!r}", name=name, obj=_sys.modules[__name__]
    )


def __dir__() -> list[str]:
    """The public names: PyTorch's, and a few. Modules of the inside are left out."""
    parts = {n for n, held in globals().items() if isinstance(held, _ModuleType)} - _NAMESPACES
    return [name for name in {*globals(), *_LAZY} if name not in parts]
