"""The tape: what PyTorch users rely on, beside real PyTorch where it gives the answer."""

import numpy as np
import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")
BOTH = (funtorch, torch)


def agree(program):
    ours, theirs = (program(lib) for lib in BOTH)
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-5, atol=1e-6)


def leaf(lib, values=(1.0, 2.0, 3.0)):
    return lib.tensor(list(values), requires_grad=True)


def accumulates(lib):
    x = leaf(lib)
    (x * x).sum().backward()
    (x * 3).sum().backward()
    return x.grad.tolist()


def given_gradient(lib):
    x = leaf(lib)
    (x * x).backward(lib.tensor([1.0, 10.0, 100.0]))
    return x.grad.tolist()


def only_inputs(lib):
    x, y = leaf(lib), leaf(lib)
    (x * y).sum().backward(inputs=[x])
    assert y.grad is None
    return x.grad.tolist()


def second_derivative(lib):
    x = leaf(lib)
    (g,) = lib.autograd.grad((x**3).sum(), x, create_graph=True)
    (h,) = lib.autograd.grad(g.sum(), x)
    return h.tolist()


def third_derivative(lib):
    x = leaf(lib)
    y = x.sin().sum()
    for _ in range(3):
        (y,) = lib.autograd.grad(y.sum(), x, create_graph=True)
    return y.tolist()


def tensor_hook(lib):
    x = leaf(lib)
    y = x * 2
    y.register_hook(lambda g: g * 5)
    y.sum().backward()
    return x.grad.tolist()


def retained(lib):
    x = leaf(lib)
    y = x * 2
    y.retain_grad()
    (y * y).sum().backward()
    return y.grad.tolist()


def post_accumulate(lib):
    x, seen = leaf(lib), []
    x.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.sum().item()))
    (x * 4).sum().backward()
    return seen


def detached(lib):
    x = leaf(lib)
    (x * x.detach()).sum().backward()
    return x.grad.tolist()


def twice_with_retain(lib):
    x = leaf(lib)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    return x.grad.tolist()


def custom(lib):
    class Cube(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return grad * 3 * x * x

    x = leaf(lib)
    y = Cube.apply(x)
    (g,) = lib.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = lib.autograd.grad(g.sum(), x)
    return g.tolist() + h.tolist()


def custom_with_setup(lib):
    class Scale(lib.autograd.Function):
        @staticmethod
        def forward(x, factor):
            return x * factor

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.factor = inputs[1]

        @staticmethod
        def backward(ctx, grad):
            assert ctx.needs_input_grad == (True, False)
            return grad * ctx.factor, None

    x = leaf(lib)
    Scale.apply(x, 7.0).sum().backward()
    return x.grad.tolist()


def complex_gradient(lib):
    x = lib.tensor([1 + 2j, 3 - 1j], requires_grad=True)
    (x * x.conj() * x).abs().sum().backward()
    return lib.view_as_real(x.grad).tolist()


def ties(lib):
    x = leaf(lib, (1.0, 3.0, 3.0))
    (x.max() + x.amax() + x.max(0).values).backward()
    return x.grad.tolist()


@pytest.mark.parametrize(
    "program",
    [
        accumulates,
        given_gradient,
        only_inputs,
        second_derivative,
        third_derivative,
        tensor_hook,
        retained,
        post_accumulate,
        detached,
        twice_with_retain,
        custom,
        custom_with_setup,
        complex_gradient,
        ties,
    ],
    ids=lambda f: f.__name__,
)
def test_agrees(program):
    agree(program)


def names(fn):
    return (
        None if fn is None else (fn.name().split(".")[-1], [names(f) for f, _ in fn.next_functions])
    )


def test_node_names_and_next_functions():
    shapes = []
    for lib in BOTH:
        x = leaf(lib)
        y = ((x * 2).exp() + x).sum()
        fn = y.grad_fn
        shapes.append([fn.name(), fn.next_functions[0][0].name()])
    assert shapes[0] == shapes[1] == ["SumBackward0", "AddBackward0"]


def test_second_backward_without_retain_raises():
    for lib in BOTH:
        y = (leaf(lib) ** 2).sum()
        y.backward()
        with pytest.raises(RuntimeError, match="second time"):
            y.backward()


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_anomaly_detection_names_the_op():
    for lib in BOTH:
        x = lib.tensor([-1.0], requires_grad=True)
        with pytest.raises(RuntimeError, match="SqrtBackward0"), lib.autograd.detect_anomaly():
            x.sqrt().sum().backward()


def test_grad_modes():
    for lib in BOTH:
        x = leaf(lib)
        with lib.no_grad():
            assert not (x * 2).requires_grad
            with lib.enable_grad():
                assert (x * 2).requires_grad
        with lib.set_grad_enabled(False):
            assert not (x * 2).requires_grad
        with lib.inference_mode():
            y = x * 2
        assert y.is_inference()
        assert lib.no_grad()(lambda x=x: (x * 2).requires_grad)() is False


def test_gradcheck_accepts_and_rejects():
    from funtorch.autograd import gradcheck, gradgradcheck

    x = funtorch.randn(3, dtype=funtorch.float64, requires_grad=True)
    assert gradcheck(lambda a: (a * a).exp(), (x,))
    assert gradgradcheck(lambda a: (a * a).exp(), (x,))

    class Wrong(funtorch.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            return a * 2

        @staticmethod
        def backward(ctx, grad):
            return grad * 3

    assert not gradcheck(Wrong.apply, (x,), raise_exception=False)


def test_checkpoint_gives_the_same_gradients():
    from funtorch.utils.checkpoint import checkpoint

    net = funtorch.nn.Sequential(funtorch.nn.Linear(4, 8), funtorch.nn.Tanh())
    x = funtorch.randn(3, 4, requires_grad=True)
    grads = []
    for run in (net, lambda v: checkpoint(net, v, use_reentrant=False)):
        run(x).sum().backward()
        grads.append([x.grad.tolist(), net[0].weight.grad.tolist()])
        x.grad = net[0].weight.grad = None
    for a, b in zip(*grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def scratch_memory(run):
    """Bytes of scratch memory of the whole step of a deep network, from XLA's own account."""
    from funtorch.lowering import execution_mode, stats

    funtorch.manual_seed(0)
    blocks = [funtorch.nn.Sequential(*layers()) for _ in range(6)]
    x = funtorch.randn(256, 64, requires_grad=True)
    with execution_mode("whole"):
        out = x * 1
        for block in blocks:
            out = run(block, out)
        out.sum().backward()
        x.grad.tolist()
    return stats.log[-1].temporary


def layers():
    for _ in range(4):
        yield funtorch.nn.Linear(64, 64)
        yield funtorch.nn.Tanh()


def test_checkpoint_needs_less_memory():
    from funtorch.utils.checkpoint import checkpoint

    plain = scratch_memory(lambda block, x: block(x))
    again = scratch_memory(lambda block, x: checkpoint(block, x, use_reentrant=False))
    assert again < 0.7 * plain, (again, plain)


def test_module_backward_hooks_see_gradients():
    seen = []
    for lib in BOTH:
        lib.manual_seed(0)
        net = lib.nn.Linear(2, 2)
        record = []
        net.register_full_backward_hook(
            lambda m, gi, go, record=record: record.append((gi[0].tolist(), go[0].tolist()))
        )
        net(lib.ones(1, 2, requires_grad=True)).sum().backward()
        seen.append(record)
    np.testing.assert_allclose(seen[0][0][0], seen[1][0][0], rtol=1e-6)
    assert seen[0][0][1] == seen[1][0][1]


def test_looking_at_a_result_with_numpy_is_not_a_write():
    x = funtorch.ones(3, requires_grad=True)
    y = x.softmax(0)
    y.detach().numpy()
    assert y._version == 0
    y[0].backward()
    assert x.grad is not None
    leaf = funtorch.ones(2, 2).reshape(4).requires_grad_()
    view = leaf.view(2, 2)
    view.detach().numpy()
    view.sum().backward()
    assert leaf.grad.tolist() == [1.0] * 4
