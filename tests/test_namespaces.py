"""The names that `dir` shows are PyTorch's, but for a few that are documented."""

from __future__ import annotations

import importlib

import pytest

import funtorch

torch = pytest.importorskip("torch", reason="real PyTorch is the oracle")

EXTRAS = {
    "": {"explain", "flax", "from_jax", "tensorflow", "to_jax"},
}
importlib.import_module("torch.onnx")  # it shows in dir(torch) only then
SPACES = ["", ".nn", ".nn.functional", ".nn.parallel", ".optim", ".autograd", ".linalg", ".fft"]


def public(module) -> set[str]:
    return {name for name in dir(module) if not name.startswith("_")}


@pytest.mark.parametrize("space", SPACES)
def test_no_name_is_ours_alone(space: str) -> None:
    ours, theirs = (importlib.import_module(f"{root}{space}") for root in ("funtorch", "torch"))
    assert public(ours) - public(theirs) == EXTRAS.get(space, set())
    assert all(hasattr(ours, name) for name in public(ours))


def test_tensor_has_no_attribute_of_its_own() -> None:
    assert public(funtorch.Tensor) - public(torch.Tensor) == set()


@pytest.mark.parametrize("space", ["nn", "optim"])
def test_star_import(space: str) -> None:
    names: dict[str, object] = {}
    exec(f"from funtorch.{space} import *", names)
    assert set(names) - {"__builtins__"} <= public(getattr(torch, space))


NAMES = """
    Event Stream PyTorchFileReader ScriptModule Tensor.storage __config__.show _assert_async
    _foreach_addcmul_ _subclasses.fake_tensor.is_fake _tensor_str.PRINT_OPTS
    autograd.forward_ad.unpack_dual autograd.profiler.profile hub._get_torch_home
    distributed.constants.default_pg_timeout distributed.rpc.is_available
    fx.experimental.proxy_tensor.get_proxy_mode jit.annotations.BroadcastingList2
    nn.modules.loss._WeightedLoss onnx.register_custom_op_symbolic
    types._size
    utils.data.dataloader._BaseDataLoaderIter backends.cudnn.flags library.custom_op library.register_fake
    linalg.LinAlgError nn.modules.batchnorm._BatchNorm nn.modules.conv._ConvNd
    nn.modules.container.ModuleList nn.modules.utils._pair nn.parameter.UninitializedParameter
    types.Number utils.model_zoo.load_url
    accelerator.current_accelerator autograd.Variable autograd.profiler.record_function
    backends.cuda.sdp_kernel cuda.get_device_properties cuda.reset_peak_memory_stats
    distributed.ReduceOp.AVG distributed.group.WORLD get_device_module hub.download_url_to_file
    hub.load_state_dict_from_url jit.TracerWarning mps.empty_cache multiprocessing.get_context
    multiprocessing.set_start_method nn.DataParallel nn.functional.gumbel_softmax
    nn.init.orthogonal_ nn.parallel.DistributedDataParallel profiler.schedule
    set_default_tensor_type utils.hooks.RemovableHandle vmap xpu.device_count
""".split()  # noqa: SIM905


@pytest.mark.parametrize("name", NAMES)
def test_names_that_projects_use(name: str) -> None:
    for library in (funtorch, torch):
        found = library
        for part in name.split("."):
            if not hasattr(found, part):
                importlib.import_module(f"{found.__name__}.{part}")
            found = getattr(found, part)


def test_prefixes_of_state_dicts() -> None:
    made = []
    for t in (funtorch, torch):
        state = t.nn.DataParallel(t.nn.Sequential(t.nn.Linear(1, 1))).state_dict()
        utils = importlib.import_module(f"{t.__name__}.nn.modules.utils")
        utils.consume_prefix_in_state_dict_if_present(state, "module.")
        made.append((list(state), list(state._metadata), utils._pair(3), utils._triple([1, 2])))
    assert made[0] == made[1]


OF_QUANTISATION = "NonDynamicallyQuantizableLinear"


def test_activations_can_be_looked_through() -> None:
    def classes(lib) -> set[str]:
        held = vars(lib.nn.modules.activation).items()
        layers = {n for n, c in held if isinstance(c, type) and issubclass(c, lib.nn.Module)}
        return layers - {"Module", OF_QUANTISATION}

    assert classes(funtorch) == classes(torch)
