"""`__torch_function__`: subclasses, foreign types and modes see the calls that PyTorch shows them."""

import importlib

import pytest
import torch as real

import funtorch

pytestmark = pytest.mark.filterwarnings("ignore")


def logging_class(lib, log):
    class Logged(lib.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            log.append((func.__name__, [t.__name__ for t in types], len(args)))
            return super().__torch_function__(func, types, args, kwargs or {})

    return Logged


CALLS = {
    "x + 1": lambda lib, x, p: x + 1,
    "p + x": lambda lib, x, p: p + x,
    "x - p": lambda lib, x, p: x - p,
    "x / 2": lambda lib, x, p: x / 2,
    "-x": lambda lib, x, p: -x,
    "x @ p": lambda lib, x, p: x @ p,
    "x < 1": lambda lib, x, p: x < 1,
    "x[0]": lambda lib, x, p: x[0],
    "x[[0]]": lambda lib, x, p: x[[0]],
    "x[0] = 1": lambda lib, x, p: x.__setitem__(0, 1),
    "x.add_": lambda lib, x, p: x.add_(1),
    "p.add_": lambda lib, x, p: p.add_(x),
    "torch.add": lambda lib, x, p: lib.add(x, 1),
    "torch.cat": lambda lib, x, p: lib.cat([p, x]),
    "torch.zeros_like": lambda lib, x, p: lib.zeros_like(x),
    "torch.is_floating_point": lambda lib, x, p: lib.is_floating_point(x),
    "F.relu": lambda lib, x, p: lib.nn.functional.relu(x),
    "F.linear": lambda lib, x, p: lib.nn.functional.linear(x, p),
    "F.mse_loss": lambda lib, x, p: lib.nn.functional.mse_loss(x, p),
    "nn.Linear": lambda lib, x, p: lib.nn.Linear(2, 2)(x),
    "shape": lambda lib, x, p: x.shape,
    "size": lambda lib, x, p: x.size(),
    "T": lambda lib, x, p: x.T,
    "data": lambda lib, x, p: x.data,
    "grad": lambda lib, x, p: x.grad,
    "detach": lambda lib, x, p: x.detach(),
    "clone": lambda lib, x, p: x.clone(),
    "len": lambda lib, x, p: len(x),
    "bool": lambda lib, x, p: bool(x.sum()),
    "to": lambda lib, x, p: x.to(lib.float64),
    "item": lambda lib, x, p: x.sum().item(),
    "max": lambda lib, x, p: x.max(0),
    "numpy": lambda lib, x, p: x.numpy(),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_subclass_sees_what_pytorch_shows_it(name):
    seen = []
    for lib in (real, funtorch):
        log = []
        x = lib.ones(2, 2).as_subclass(logging_class(lib, log))
        result = CALLS[name](lib, x, lib.ones(2, 2))
        kinds = [type(r).__name__ for r in (result if isinstance(result, tuple) else (result,))]
        seen.append(([(f, [k for k in t if k != "Tensor"]) for f, t, _ in log[:1]], kinds))

    assert seen[0] == seen[1]


def test_a_subclass_without_a_handler_keeps_its_class():
    for lib in (real, funtorch):

        class Mine(lib.Tensor):
            pass

        x = lib.ones(3).as_subclass(Mine)
        assert type(x * 2) is type(2 * x) is type(lib.ones(3) + x) is type(x.sum()) is Mine
        assert [type(t) for t in x.max(0)] == [Mine, Mine]
        assert type(lib.nn.Parameter(lib.ones(3)) * 2) is lib.Tensor
        with lib._C.DisableTorchFunctionSubclass():
            assert type(x * 2) is lib.Tensor


def test_gradients_reach_through_a_subclass():
    class Mine(funtorch.Tensor):
        pass

    w = funtorch.ones(3, requires_grad=True)
    (w.as_subclass(Mine) ** 2).sum().backward()
    assert w.grad.tolist() == [2.0, 2.0, 2.0]


def scaled_class(lib, handled):
    class Scaled:
        def __init__(self, by):
            self.by = by

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            if func not in handled:
                return NotImplemented
            return handled[func](*args, **(kwargs or {}))

    return Scaled


def test_foreign_types_by_the_functions_identity():
    for lib in (real, funtorch):
        handled = {
            lib.mean: lambda input, dim=None: ("mean", input.by, dim),
            lib.nn.functional.gelu: lambda input, approximate="none": ("gelu", input.by),
            lib.Tensor.add: lambda one, other: ("add", other.by),
            lib.stack: lambda tensors, dim=0: ("stack", [t.by for t in tensors]),
        }
        scaled = scaled_class(lib, handled)(3)
        assert lib.mean(scaled) == ("mean", 3, None)
        assert lib.mean(input=scaled, dim=0) == ("mean", 3, 0)
        assert lib.nn.functional.gelu(scaled) == ("gelu", 3)
        assert lib.ones(2) + scaled == ("add", 3)
        assert lib.stack([scaled, scaled]) == ("stack", [3, 3])
        with pytest.raises(TypeError, match="all __torch_function__ handlers returned NotImpl"):
            lib.add(scaled, 1)
        with pytest.raises(TypeError, match="unsupported operand"):
            lib.ones(2) * scaled
        assert lib.overrides.is_tensor_like(scaled)
        assert not lib.overrides.is_tensor_like(1)


def test_the_first_call_of_a_foreign_type_already_names_the_public_function():
    for call, name in (
        (lambda d: funtorch.add(funtorch.ones(1), d), "torch.add"),
        (
            lambda d: funtorch.nn.functional.smooth_l1_loss(d, d),
            "torch.nn.functional.smooth_l1_loss",
        ),
        (lambda d: funtorch.linalg.norm(d), "torch.linalg.norm"),
        (lambda d: funtorch.ones(1).add_(d), "torch.Tensor.add_"),
    ):
        funtorch.overrides.watch.on = False
        log = []

        class Duck:
            @classmethod
            def __torch_function__(cls, func, types, args=(), kwargs=None):
                log.append(funtorch.overrides.resolve_name(func))  # noqa: B023
                return 1

        assert call(Duck()) == 1
        assert log == [name]


def test_subclasses_are_asked_before_their_bases():
    for lib in (real, funtorch):
        order = []

        def handler(cls, func, types, args=(), kwargs=None):
            order.append(cls.__name__)  # noqa: B023
            return NotImplemented

        base = type("Base", (lib.Tensor,), {"__torch_function__": classmethod(handler)})
        derived = type("Derived", (base,), {"__torch_function__": classmethod(handler)})
        one, two = (lib.ones(1).as_subclass(c) for c in (base, derived))
        with pytest.raises(TypeError):
            lib.add(one, two)
        assert order == ["Derived", "Base"]


def test_modes_see_calls_without_subclasses_and_nest():
    for lib in (real, funtorch):
        log = []

        class Mode(lib.overrides.TorchFunctionMode):
            def __init__(self, name):
                super().__init__()
                self.name = name

            def __torch_function__(self, func, types, args=(), kwargs=None):
                log.append((self.name, func.__name__))  # noqa: B023
                return func(*args, **(kwargs or {}))

        with Mode("outer"), Mode("inner"):
            lib.zeros(2)
            with lib._C.DisableTorchFunction():
                lib.ones(2)
        lib.ones(2)
        assert log == [("inner", "zeros"), ("outer", "zeros")]


def test_functions_of_ones_own():
    for lib in (real, funtorch):

        class Duck:
            @classmethod
            def __torch_function__(cls, func, types, args=(), kwargs=None):
                return func.__name__, args, kwargs

        duck = Duck()

        def area(a, b=1):
            over = lib.overrides  # noqa: B023
            if over.has_torch_function((a,)):
                return over.handle_torch_function(area, (a,), a, b=b)
            return a * b

        assert area(2, b=3) == 6
        assert area(duck, b=3) == ("area", (duck,), {"b": 3})
        wrapped = lib.overrides.wrap_torch_function(lambda a: (a,))(lambda a: a + 1)
        assert wrapped(1) == 2
        assert wrapped(duck)[1] == (duck,)
        assert lib.overrides.resolve_name(lib.Tensor.add) == "torch.Tensor.add"
        assert lib.overrides.is_tensor_method_or_property(lib.Tensor.add)
        assert not lib.overrides.is_tensor_method_or_property(lib.add)


def test_indices_become_gathers_within_their_mode():
    """Masks of attention are computed so: no view by a value that `vmap` hides."""
    made = []
    for lib, name in ((funtorch, "funtorch"), (real, "torch")):
        mode = importlib.import_module(f"{name}._dynamo._trace_wrapped_higher_order_op")
        table = lib.arange(12.0).reshape(3, 4)
        with mode.TransformGetItemToIndex():
            pairs = lib.vmap(lib.vmap(lambda i, j, held=table: held[i, j], (None, 0)), (0, None))(
                lib.arange(3), lib.arange(4)
            )
            made.append((pairs.tolist(), table[1].tolist(), table[0, 2].item()))
    assert made[0] == made[1]
