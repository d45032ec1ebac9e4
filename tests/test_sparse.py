"""Sparse tensors against real PyTorch: layouts, parts, text, values, gradients, errors."""

import copy
import io
import pickle
import warnings

import numpy as np
import pytest
import torch as real

import funtorch

pytestmark = pytest.mark.filterwarnings("ignore")
LIBS = (real, funtorch)


def matrix(lib, grad=False):
    """[3, 4] in COO, not coalesced."""
    values = lib.tensor([1.0, -2.0, 3.0, 0.5])
    return lib.sparse_coo_tensor(
        lib.tensor([[2, 0, 1, 2], [3, 1, 0, 3]]), values, (3, 4), requires_grad=grad
    )


def hybrid(lib, grad=False):
    """[3, 2] with one dense dimension."""
    values = lib.tensor([[1.0, 2.0], [-3.0, 4.0]])
    return lib.sparse_coo_tensor([[0, 2]], values, (3, 2), requires_grad=grad)


def dense(lib, *shape):
    return lib.tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def csr(lib):
    return matrix(lib).to_sparse_csr()


def described(lib, result):
    """What of a result must be the same in both libraries."""
    if isinstance(result, tuple | list):
        return [described(lib, r) for r in result]
    if not isinstance(result, lib.Tensor):
        return str(result)
    layout = str(result.layout)
    extra = result.is_coalesced() if layout == "torch.sparse_coo" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        full = result.to_dense() if layout != "torch.strided" else result
    dtype = str(full.dtype).rsplit(".", 1)[-1]
    return layout, tuple(result.shape), dtype, extra, full.detach().numpy()


def same(ours, theirs):
    if isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)
    elif isinstance(theirs, tuple):
        assert ours[:4] == theirs[:4]
        np.testing.assert_allclose(ours[4], theirs[4], rtol=1e-5, atol=1e-6)
    else:
        assert ours == theirs


RESULTS = {
    "coalesce": lambda t: matrix(t).coalesce(),
    "parts": lambda t: [matrix(t).coalesce().indices(), matrix(t).coalesce().values()],
    "raw parts": lambda t: [matrix(t)._indices(), matrix(t)._values(), matrix(t)._nnz()],
    "dims": lambda t: [hybrid(t).sparse_dim(), hybrid(t).dense_dim(), hybrid(t).stride()],
    "flags": lambda t: [
        matrix(t).is_sparse,
        csr(t).is_sparse,
        csr(t).is_sparse_csr,
        matrix(t).numel(),
    ],
    "inferred size": lambda t: t.sparse_coo_tensor([[0, 3]], [1.0, 2.0]),
    "no entries": lambda t: t.sparse_coo_tensor((2, 3)),
    "zeros": lambda t: t.zeros(2, 3, layout=t.sparse_coo),
    "to_sparse": lambda t: matrix(t).to_dense().to_sparse(),
    "to_sparse(1)": lambda t: matrix(t).to_dense().to_sparse(1),
    "csr parts": lambda t: [csr(t).crow_indices(), csr(t).col_indices(), csr(t).values()],
    "csc": lambda t: matrix(t).to_sparse_csc(),
    "csc parts": lambda t: [
        matrix(t).to_sparse_csc().ccol_indices(),
        csr(t).to_sparse_csc().row_indices(),
    ],
    "bsr": lambda t: matrix(t).to_dense()[:2].to_sparse_bsr((2, 2)),
    "bsr values": lambda t: matrix(t).to_dense()[:2].to_sparse_bsr((2, 2)).values(),
    "bsc": lambda t: matrix(t).to_dense()[:2].to_sparse_bsc((1, 2)),
    "csr of dense": lambda t: matrix(t).to_dense().to_sparse_csr(),
    "csr batch": lambda t: t.stack([t.eye(2), t.ones(2, 2).tril().flip(0).triu()]).to_sparse_csr(),
    "csr to coo": lambda t: csr(t).to_sparse(),
    "layout=": lambda t: matrix(t).to_sparse(layout=t.sparse_csc),
    "csr tensor": lambda t: t.sparse_csr_tensor([0, 1, 2], [1, 0], [1.0, 2.0], (2, 2)),
    "csr inferred": lambda t: t.sparse_csr_tensor([0, 1, 2], [1, 0], [1.0, 2.0]),
    "csc tensor": lambda t: t.sparse_csc_tensor([0, 1, 2], [1, 0], [1.0, 2.0], (2, 2)),
    "bsr tensor": lambda t: t.sparse_bsr_tensor([0, 1], [1], t.ones(1, 2, 2), (2, 4)),
    "compressed": lambda t: t.sparse_compressed_tensor(
        [0, 1, 2], [1, 0], [1.0, 2.0], (2, 2), layout=t.sparse_csr
    ),
    "add": lambda t: matrix(t) + matrix(t).coalesce(),
    "add coalesced": lambda t: matrix(t).coalesce() + matrix(t).coalesce(),
    "add dense": lambda t: dense(t, 3, 4) + matrix(t),
    "add alpha": lambda t: t.add(dense(t, 3, 4), matrix(t), alpha=3),
    "sub": lambda t: matrix(t) - matrix(t),
    "sub from dense": lambda t: dense(t, 3, 4) - matrix(t),
    "csr + csr": lambda t: csr(t) + csr(t),
    "mul number": lambda t: matrix(t) * 2,
    "number mul": lambda t: 2 * matrix(t),
    "mul dense": lambda t: matrix(t).coalesce() * dense(t, 3, 4),
    "dense mul": lambda t: dense(t, 3, 4) * matrix(t).coalesce(),
    "mul sparse": lambda t: matrix(t) * dense(t, 3, 4).relu().to_sparse(),
    "div": lambda t: matrix(t) / 4,
    "csr mul": lambda t: csr(t) * 3,
    "csr mul dense": lambda t: csr(t) * dense(t, 3, 4),
    "pow": lambda t: matrix(t) ** 2,
    "neg": lambda t: -matrix(t),
    "abs": lambda t: matrix(t).abs(),
    "sqrt": lambda t: t.sqrt(matrix(t).abs()),
    "relu": lambda t: t.nn.functional.relu(matrix(t)),
    "csr sin": lambda t: t.sin(csr(t)),
    "isnan": lambda t: matrix(t).isnan(),
    "sum": lambda t: matrix(t).sum(),
    "sum 0": lambda t: t.sum(matrix(t), 0),
    "sparse.sum": lambda t: t.sparse.sum(matrix(t), 1),
    "sparse.sum dense": lambda t: t.sparse.sum(hybrid(t), 1),
    "sparse.sum all": lambda t: t.sparse.sum(hybrid(t), (0, 1)),
    "sparse.sum sparse": lambda t: t.sparse.sum(hybrid(t), 0),
    "csr sum": lambda t: csr(t).sum(),
    "norm": lambda t: matrix(t).norm(),
    "any": lambda t: matrix(t).any(),
    "t": lambda t: matrix(t).t(),
    "T": lambda t: matrix(t).T,
    "transpose": lambda t: hybrid(t).unsqueeze(0).transpose(0, 1),
    "permute": lambda t: matrix(t).permute(1, 0),
    "csr t": lambda t: csr(t).t(),
    "unsqueeze": lambda t: matrix(t).unsqueeze(1),
    "index": lambda t: matrix(t)[2],
    "index csr": lambda t: csr(t)[2, 3],
    "select": lambda t: hybrid(t).select(1, 0),
    "index_select": lambda t: matrix(t).index_select(0, t.tensor([2, 0])),
    "iterate": lambda t: list(matrix(t)),
    "cat": lambda t: t.cat([matrix(t), matrix(t)], 1),
    "stack": lambda t: t.stack([matrix(t), matrix(t)]),
    "mm": lambda t: t.mm(matrix(t), dense(t, 4, 2)),
    "@": lambda t: matrix(t) @ dense(t, 4, 2),
    "@ vector": lambda t: matrix(t) @ dense(t, 4),
    "dense @": lambda t: dense(t, 2, 3) @ matrix(t),
    "sparse @ sparse": lambda t: matrix(t) @ matrix(t).t(),
    "csr @": lambda t: csr(t) @ dense(t, 4, 2),
    "csr @ vector": lambda t: csr(t) @ dense(t, 4),
    "csr @ csr": lambda t: csr(t) @ dense(t, 4, 2).relu().to_sparse_csr(),
    "csc @": lambda t: csr(t).t() @ dense(t, 3, 2),
    "sparse.mm": lambda t: t.sparse.mm(matrix(t), dense(t, 4, 2)),
    "sparse.mm amax": lambda t: t.sparse.mm(csr(t), dense(t, 4, 2), "amax"),
    "sparse.mm mean": lambda t: t.sparse.mm(csr(t), dense(t, 4, 2), "mean"),
    "addmm": lambda t: t.addmm(dense(t, 3, 2), matrix(t), dense(t, 4, 2), beta=2, alpha=3),
    "sparse.addmm": lambda t: t.sparse.addmm(dense(t, 3, 2), matrix(t), dense(t, 4, 2)),
    "bmm": lambda t: t.bmm(t.stack([matrix(t), matrix(t)]), dense(t, 2, 4, 2)),
    "smm": lambda t: t.smm(matrix(t), dense(t, 4, 2)),
    "hspmm": lambda t: t.hspmm(matrix(t), dense(t, 4, 2)),
    "linear": lambda t: t.nn.functional.linear(dense(t, 2, 4), csr(t)),
    "softmax": lambda t: t.sparse.softmax(matrix(t), 1),
    "softmax 0": lambda t: t.sparse.softmax(hybrid(t), 0),
    "softmax dense": lambda t: t.sparse.softmax(hybrid(t), 1),
    "log_softmax": lambda t: t.sparse.log_softmax(matrix(t), 0),
    "sampled_addmm": lambda t: t.sparse.sampled_addmm(
        csr(t), dense(t, 3, 2), dense(t, 2, 4), beta=0.5, alpha=2
    ),
    "spdiags": lambda t: t.sparse.spdiags(dense(t, 2, 3), t.tensor([0, -1]), (3, 3)),
    "spdiags csr": lambda t: t.sparse.spdiags(
        dense(t, 2, 3), t.tensor([0, 1]), (4, 3), layout=t.sparse_csr
    ),
    "sparse_mask": lambda t: dense(t, 3, 4).sparse_mask(matrix(t).coalesce()),
    "to float64": lambda t: matrix(t).to(t.float64),
    "double": lambda t: csr(t).double(),
    "clone": lambda t: matrix(t).clone(),
    "zeros_like": lambda t: t.zeros_like(matrix(t)),
    "add_": lambda t: matrix(t).add_(matrix(t)),
    "dense add_": lambda t: dense(t, 3, 4).add_(matrix(t)),
    "mul_": lambda t: matrix(t).mul_(2),
    "neg_": lambda t: csr(t).neg_(),
    "zero_": lambda t: matrix(t).zero_(),
    "copy_": lambda t: matrix(t).copy_(matrix(t) * 2),
    "repr coo": lambda t: repr(matrix(t)),
    "repr hybrid": lambda t: repr(hybrid(t).double()),
    "repr csr": lambda t: repr(csr(t)),
    "repr csc": lambda t: repr(csr(t).t()),
    "repr empty": lambda t: repr(t.sparse_coo_tensor((2, 3))),
    "repr grad": lambda t: repr(matrix(t, grad=True)),
    "repr node": lambda t: repr(t.eye(2).requires_grad_().to_sparse()),
    "layouts": lambda t: [
        t.sparse_coo,
        t.strided,
        csr(t).layout,
        pickle.loads(pickle.dumps(t.strided)),
    ],
    "new": lambda t: [matrix(t).new_zeros(2, 2), matrix(t).new_tensor([1.0])],
    "narrow_copy": lambda t: matrix(t).narrow_copy(1, 1, 2),
    "clear": lambda t: matrix(t).sparse_resize_and_clear_((2, 2), 2, 0),
    "out": lambda t: t.mm(matrix(t), dense(t, 4, 2), out=t.empty(3, 2)),
    "out sparse": lambda t: t.mul(matrix(t), 2, out=matrix(t)),
    "legacy": lambda t: [
        t.sparse.FloatTensor(t.tensor([[0, 1]]), t.ones(2), t.Size([3])),
        t.sparse.LongTensor(2, 3),
        isinstance(matrix(t), t.sparse.FloatTensor),
        isinstance(matrix(t), t.sparse.DoubleTensor),
        matrix(t).double().type(),
    ],
    "invariants": lambda t: t.sparse.check_sparse_tensor_invariants.is_enabled(),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results(name):
    theirs, ours = (described(lib, RESULTS[name](lib)) for lib in LIBS)
    same(ours, theirs)


ERRORS = {
    "values": lambda t: matrix(t).values(),
    "indices": lambda t: t.ones(2).indices(),
    "crow": lambda t: matrix(t).crow_indices(),
    "coalesce": lambda t: t.ones(2).coalesce(),
    "nnz": lambda t: t.sparse_coo_tensor([[0, 1]], [1.0], (3,)),
    "size": lambda t: t.sparse_coo_tensor([[0, 1]], [1.0, 2.0], (3, 3)),
    "bounds": lambda t: t.sparse_coo_tensor([[0, 5]], [1.0, 2.0], (3,), check_invariants=True),
    "csr": lambda t: t.sparse_csr_tensor([0, 3], [0], [1.0], (1, 1), check_invariants=True),
    "sparse + dense": lambda t: matrix(t) + dense(t, 3, 4),
    "div": lambda t: matrix(t) / dense(t, 3, 4),
    "mm": lambda t: t.sparse.mm(matrix(t), dense(t, 3, 2)),
    "mv": lambda t: t.mv(matrix(t), dense(t, 3)),
    "exp": lambda t: t.exp(matrix(t)),
    "eq": lambda t: matrix(t) == matrix(t),
    "view": lambda t: matrix(t).view(-1),
    "numpy": lambda t: matrix(t).numpy(),
    "item": lambda t: matrix(t).item(),
    "data_ptr": lambda t: matrix(t).data_ptr(),
    "strides": lambda t: csr(t).stride(),
    "softmax": lambda t: matrix(t).softmax(0),
    "sparse.softmax": lambda t: t.sparse.softmax(t.ones(2), 0),
    "reshape": lambda t: matrix(t).reshape(4, 3),
    "expand": lambda t: matrix(t).expand(2, 3, 4),
    "number - sparse": lambda t: 1 - matrix(t),
    "bool": lambda t: bool(matrix(t)),
    "std": lambda t: matrix(t).std(),
    "sparse_mask": lambda t: t.ones(2).sparse_mask(t.ones(2)),
    "leaf in place": lambda t: matrix(t, grad=True).mul_(2),
    "blocks": lambda t: t.ones(3, 3).to_sparse_bsr((2, 2)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    raised = []
    for lib in LIBS:
        with pytest.raises(Exception) as info:
            ERRORS[name](lib)
        raised.append(info)
    assert raised[1].type is raised[0].type
    if raised[0].type is RuntimeError:
        assert str(raised[1].value)[:30] == str(raised[0].value)[:30]


GRADIENTS = {
    "to_dense": lambda t, s, d: (s.to_dense() * d).sum(),
    "sparse.mm": lambda t, s, d: (t.sparse.mm(s, d.t()) ** 2).sum(),
    "mm": lambda t, s, d: ((s @ d.t()) ** 2).sum(),
    "addmm": lambda t, s, d: (t.sparse.addmm(d[:, :3], s, d.t()) ** 2).sum(),
    "mul": lambda t, s, d: t.sparse.sum(s * 3),
    "sum": lambda t, s, d: (t.sparse.sum(s, 0).to_dense() ** 2).sum(),
    "values": lambda t, s, d: (s.coalesce().values() ** 2).sum(),
    "softmax": lambda t, s, d: (t.sparse.softmax(s.coalesce(), 1).to_dense() * d).sum(),
    "add": lambda t, s, d: ((s + s).to_dense() ** 2).sum(),
    "dense + s": lambda t, s, d: ((d + s) ** 2).sum(),
    "t": lambda t, s, d: ((s.t() @ d) ** 2).sum(),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name):
    seen = []
    for lib in LIBS:
        # Coalesced: PyTorch's gradients of repeated entries depend on the function.
        s = matrix(lib).coalesce().detach().requires_grad_()
        d = dense(lib, 3, 4).requires_grad_()
        GRADIENTS[name](lib, s, d).backward()
        grads = [g if g is None or not g.is_sparse else g.to_dense() for g in (s.grad, d.grad)]
        seen.append([None if g is None else g.numpy() for g in grads])
    for ours, theirs in zip(seen[1], seen[0], strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            pattern = matrix(real).to_dense().numpy() != 0 if ours is seen[1][0] else 1
            np.testing.assert_allclose(ours, theirs * pattern, rtol=1e-5, atol=1e-6)


def test_the_gradient_of_a_sparse_leaf_is_sparse_and_grad_returns_it():
    for lib in LIBS:
        s = matrix(lib).coalesce().requires_grad_()
        (grad,) = lib.autograd.grad(lib.sparse.mm(s, lib.ones(4, 2)).sum(), [s])
        assert grad.is_sparse
        assert grad.to_dense().sum().item() == 6
        assert s.grad is None
        assert s.is_leaf


def test_entries_of_one_place_have_one_gradient():
    for lib in LIBS:
        s = matrix(lib, grad=True)
        (s.to_dense() ** 2).sum().backward()
        assert s.grad.to_dense()[2, 3].item() == 3.0
        grad = s.grad
        s.grad = None
        s.grad = grad
        (s.to_dense() ** 2).sum().backward()
        assert s.grad.to_dense()[2, 3].item() == 6.0


def test_gradients_flow_through_construction_and_conversion():
    for lib in LIBS:
        v = lib.tensor([1.0, 2.0], requires_grad=True)
        made = lib.sparse_coo_tensor([[0, 1], [1, 0]], v, (2, 2))
        assert made.requires_grad
        (made.to_dense() ** 2).sum().backward()
        assert v.grad.tolist() == [2.0, 4.0]
        d = lib.tensor([[0.0, 3.0], [4.0, 0.0]], requires_grad=True)
        (d.to_sparse_csr() * 2).sum().backward()
        assert d.grad.sum().item() in (4, 8)  # PyTorch: every element, here: those specified


def test_copies_pickles_and_files_that_real_pytorch_reads(tmp_path):
    for make in (matrix, hybrid, csr):
        ours = make(funtorch)
        for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
            assert repr(other) == repr(ours)
        file = tmp_path / "sparse.pt"
        funtorch.save({"x": ours}, file)
        assert repr(real.load(file)["x"]) == repr(make(real)) == repr(funtorch.load(file)["x"])
        memory = io.BytesIO()
        real.save(make(real), memory)
        memory.seek(0)
        assert repr(funtorch.load(memory)) == repr(ours)


def test_a_sparse_tensor_is_a_tensor_and_costs_strided_ones_nothing():
    assert isinstance(matrix(funtorch), funtorch.Tensor)
    assert funtorch.is_tensor(csr(funtorch))
    with pytest.raises(NotImplementedError, match=r"exp.*SparseCPU.*torch\.sparse_coo"):
        matrix(funtorch).exp()


def test_training_a_matrix_with_sparse_weights():
    seen = []
    for lib in LIBS:
        w = matrix(lib).coalesce().detach().requires_grad_()
        x = dense(lib, 4, 5)
        losses = []
        for _ in range(3):
            loss = (lib.sparse.mm(w, x) ** 2).sum()
            loss.backward()
            with lib.no_grad():
                w = (w - w.grad * 0.01).coalesce().detach().requires_grad_()
            losses.append(loss.item())
        seen.append(losses)
    np.testing.assert_allclose(seen[1], seen[0], rtol=1e-5)


def lookups(lib, bag, **how):
    """An embedding (or bag) with fixed weights, and indices."""
    make = lib.nn.EmbeddingBag if bag else lib.nn.Embedding
    layer = make(5, 3, sparse=True, **how)
    with lib.no_grad():
        layer.weight.copy_(lib.arange(15.0).reshape(5, 3) / 10)
    return layer, lib.tensor([[1, 3], [3, 0]])


@pytest.mark.parametrize(
    ("bag", "how"),
    [
        (False, {}),
        (False, {"padding_idx": 3}),
        (True, {"mode": "sum"}),
        (True, {"mode": "mean"}),
        (True, {"mode": "mean", "padding_idx": 0}),
    ],
)
def test_embeddings_give_sparse_gradients(bag, how):
    seen = []
    for lib in LIBS:
        layer, indices = lookups(lib, bag, **how)
        out = layer(indices)
        (out * out).sum().backward()
        grad = layer.weight.grad
        assert grad.is_sparse
        first = grad.coalesce()
        layer(indices).sum().backward()  # adds to it
        seen.append([out, first._indices(), first.to_dense(), layer.weight.grad.to_dense()])
    for ours, theirs in zip(seen[1], seen[0], strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-5)


OPTIMISERS = {
    "SparseAdam": lambda o, p: o.SparseAdam(p, lr=0.1),
    "SparseAdam max": lambda o, p: o.SparseAdam(p, lr=0.1, betas=(0.5, 0.9), maximize=True),
    "SGD": lambda o, p: o.SGD(p, lr=0.1),
    "SGD momentum": lambda o, p: o.SGD(p, lr=0.1, momentum=0.9),
    "Adagrad": lambda o, p: o.Adagrad(p, lr=0.1, lr_decay=0.1),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers_step_with_sparse_gradients(name):
    seen = []
    for lib in LIBS:
        layer, indices = lookups(lib, False)
        opt = OPTIMISERS[name](lib.optim, layer.parameters())
        for _ in range(4):
            opt.zero_grad()
            (layer(indices) ** 2).sum().backward()
            opt.step()
        again = OPTIMISERS[name](lib.optim, layer.parameters())
        again.load_state_dict(opt.state_dict())
        (layer(indices) ** 2).sum().backward()
        again.step()
        seen.append(layer.weight.detach().numpy())
    np.testing.assert_allclose(seen[1], seen[0], rtol=1e-5, atol=1e-6)


def test_what_optimisers_refuse():
    for lib in LIBS:
        layer, indices = lookups(lib, False)
        layer(indices).sum().backward()
        for make in (lib.optim.Adam, lib.optim.RMSprop):
            with pytest.raises(RuntimeError, match="does not support sparse gradients"):
                make(layer.parameters()).step()
        layer.weight.grad = layer.weight.grad.to_dense()
        with pytest.raises(RuntimeError, match="does not support dense gradients"):
            lib.optim.SparseAdam(layer.parameters()).step()
        with pytest.raises(ValueError, match=r"Sparse params at indices \[\[0, 0\]\]"):
            lib.optim.SparseAdam([matrix(lib)])


def test_a_sparse_gradient_meets_a_strided_one():
    for lib in LIBS:
        layer, indices = lookups(lib, False)
        (layer(indices).sum() + layer.weight.sum()).backward()
        assert layer.weight.grad.layout == lib.strided
        assert layer.weight.grad.sum().item() == 27
        double = layer.weight * 2
        lib.nn.functional.embedding(indices, double, sparse=True).sum().backward()
        assert layer.weight.grad.to_dense().sum().item() == 51


def test_loss_scaling_takes_sparse_gradients():
    seen = []
    for lib in LIBS:
        layer, indices = lookups(lib, False)
        scaler = lib.amp.GradScaler("cpu", init_scale=4.0)
        opt = lib.optim.SGD(layer.parameters(), lr=0.1)
        scaler.scale((layer(indices) ** 2).sum()).backward()
        scaler.step(opt)
        scaler.update()
        seen.append(layer.weight.detach().numpy())
    np.testing.assert_allclose(seen[1], seen[0], rtol=1e-6)


def test_under_transforms_and_in_compiled_modules():
    matrix_ = matrix(funtorch).coalesce()
    func = funtorch.func
    x = dense(funtorch, 4, 2)
    jacobian = func.jacrev(lambda v: matrix_ @ v)(x[:, 0])
    np.testing.assert_allclose(jacobian.numpy(), matrix_.to_dense().numpy(), rtol=1e-6)
    grad = func.grad(lambda v: (funtorch.sparse.mm(matrix_, v) ** 2).sum())(x)
    full = matrix_.to_dense()
    np.testing.assert_allclose(grad.numpy(), (2 * full.T @ (full @ x)).numpy(), rtol=1e-5)
    compiled = funtorch.compile(lambda v: funtorch.sparse.mm(matrix_, v))
    np.testing.assert_allclose(compiled(x).numpy(), (full @ x).numpy(), rtol=1e-5)


def test_assert_close_compares_parts():
    for lib in LIBS:
        close = lib.testing.assert_close
        close(matrix(lib), matrix(lib))
        close(csr(lib), csr(lib) * 1.0)
        close(csr(lib), matrix(lib).to_dense(), check_layout=False)
        for one, other in (
            (matrix(lib), matrix(lib) * 2),
            (csr(lib), matrix(lib)),
            (matrix(lib), lib.sparse_coo_tensor((3, 4))),
        ):
            with pytest.raises(AssertionError):
                close(one, other)
