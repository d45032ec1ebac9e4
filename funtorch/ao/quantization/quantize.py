"""Preparing a model: observers behind its layers, layers that quantise their weights.

PyTorch's torch.ao.quantization.quantize in its eager form. `convert` only swaps layers by a mapping that is
given: into quantised layers there is nothing to convert to.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

from funtorch import nn
from funtorch.ao.nn import qat
from funtorch.ao.quantization import fake_quantize as fakes
from funtorch.ao.quantization.qconfig import activation_is_memoryless
from funtorch.ao.quantization.stubs import DeQuantStub, QuantStub, QuantWrapper
from funtorch.nn.module import Module
from funtorch.nn.utils.parametrize import type_before_parametrizations
from funtorch.tensor import Tensor

DEFAULT_QAT_MODULE_MAPPINGS: dict[type[Module], type[Module]] = {
    nn.Conv2d: qat.Conv2d,
    nn.Conv3d: qat.Conv3d,
    nn.Linear: qat.Linear,
}
_FIXED = {
    **dict.fromkeys(
        (nn.Hardsigmoid, nn.Sigmoid, nn.Softmax), fakes.default_fixed_qparams_range_0to1_fake_quant
    ),
    nn.Tanh: fakes.default_fixed_qparams_range_neg1to1_fake_quant,
}
"""Layers whose results lie in a known range."""
_OBSERVED = {
    *DEFAULT_QAT_MODULE_MAPPINGS,
    *(QuantStub, nn.BatchNorm2d, nn.BatchNorm3d, nn.Dropout, nn.Conv1d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.ELU, nn.Embedding),
    *(nn.EmbeddingBag, nn.GroupNorm, nn.Hardswish, nn.InstanceNorm1d, nn.InstanceNorm2d),
    *(nn.InstanceNorm3d, nn.LayerNorm, nn.LeakyReLU, nn.ReLU6, nn.PReLU, nn.Sequential),
    *(nn.GRUCell, nn.GRU, nn.LSTM, nn.LSTMCell, nn.RNNCell, DeQuantStub),
}
"""Leaves behind which `prepare` puts an observer."""


def get_default_qat_module_mappings() -> dict[type[Module], type[Module]]:
    """Layers, and those that quantise their weights in their place."""
    return dict(DEFAULT_QAT_MODULE_MAPPINGS)


def get_default_qconfig_propagation_list() -> set[type[Module]]:
    """Layers behind which `prepare` puts an observer."""
    return set(_OBSERVED)


def propagate_qconfig_(
    module: Module,
    qconfig_dict: Mapping[Any, Any] | None = None,
    _prefix: str = "",
    _from: Any = None,
) -> None:
    """Give every module a `qconfig`: its own, or one by its type or path, or that of its parent."""
    table = qconfig_dict or {}
    config = table.get(type_before_parametrizations(module), _from)
    config = getattr(module, "qconfig", table.get(_prefix, config))
    module.qconfig = config
    for name, child in module.named_children():
        propagate_qconfig_(child, table, f"{_prefix}.{name}" if _prefix else name, config)


def _observe_output(self: Module, input: Any, output: Tensor) -> Any:
    return self.activation_post_process(output)


def _observe_input(self: Module, input: Any) -> Any:
    return self.activation_post_process(input[0])


def _observe(module: Module, made: Any = None) -> None:
    """Put an observer behind a module (before it, if the observer forgets)."""
    config = getattr(module, "qconfig", None)
    if config is None or isinstance(module, DeQuantStub):
        return
    watching = (made or config.activation)()
    devices = {p.device for p in module.parameters()}
    module.add_module(
        "activation_post_process", watching.to(devices.pop()) if devices else watching
    )
    if activation_is_memoryless(config):
        module.register_forward_pre_hook(_observe_input, prepend=True)
    else:
        module.register_forward_hook(_observe_output, prepend=True)


def _observe_leaves(module: Module, leaves: set[Any], others: set[Any]) -> None:
    for child in list(module.children()):
        kind = type_before_parametrizations(child)
        if kind is nn.Dropout:
            continue
        if kind in others:
            _observe(child)
        elif kind in _FIXED:
            _observe(child, _FIXED[kind])
        else:
            _observe_leaves(child, leaves, others)
    kind = type_before_parametrizations(module)
    leaf = not any(True for _ in module.children()) or hasattr(module, "weight_fake_quant")
    if leaf and kind in leaves and kind is not nn.Sequential:
        _observe(module)


def prepare(
    model: Module,
    inplace: bool = False,
    allow_list: set[Any] | None = None,
    observer_non_leaf_module_list: set[Any] | None = None,
) -> Module:
    """A copy (or inplace, the model itself) with observers behind its layers, by their `qconfig`.

    allow_list: layers to observe; observer_non_leaf_module_list: such as may have children.
    """
    model = model if inplace else copy.deepcopy(model)
    propagate_qconfig_(model)
    if not any(getattr(m, "qconfig", None) for m in model.modules()):
        warnings.warn(
            "None of the submodule got qconfig applied. Make sure you passed correct configuration "
            "through `qconfig_dict` or by assigning the `.qconfig` attribute directly on submodules",
            stacklevel=2,
        )
    leaves = _OBSERVED if allow_list is None else allow_list
    _observe_leaves(model, set(leaves), set(observer_non_leaf_module_list or ()))
    return model


def prepare_qat(
    model: Module, mapping: Mapping[Any, Any] | None = None, inplace: bool = False
) -> Module:
    """A copy (or inplace, the model itself) that trains as if quantised, by `qconfig`s on its modules.

    Raises AssertionError for a model in evaluation mode.
    """
    if not model.training:
        raise AssertionError("prepare_qat only works on models in training mode")
    mapping = DEFAULT_QAT_MODULE_MAPPINGS if mapping is None else mapping
    model = model if inplace else copy.deepcopy(model)
    propagate_qconfig_(model)
    convert(model, mapping, inplace=True, remove_qconfig=False)
    return prepare(model, True, observer_non_leaf_module_list=set(mapping.values()))


def convert(
    module: Module, mapping: Mapping[Any, Any], inplace: bool = False, remove_qconfig: bool = True
) -> Module:
    """Swap children of the mapping's types that have a `qconfig` by `mapping[type].from_float`."""
    module = module if inplace else copy.deepcopy(module)
    for name, child in list(module.named_children()):
        convert(child, mapping, inplace=True, remove_qconfig=False)
        swap = mapping.get(type_before_parametrizations(child))
        if swap is not None and getattr(child, "qconfig", None) is not None:
            module._modules[name] = _with_hooks(swap.from_float(child), child)
    if remove_qconfig:
        for each in module.modules():
            if "qconfig" in vars(each):
                del each.qconfig
    return module


def _with_hooks(made: Module, old: Module) -> Module:
    for before in old._forward_pre_hooks.values():
        made.register_forward_pre_hook(before)
    for after in old._forward_hooks.values():
        if after is not _observe_output:
            made.register_forward_hook(after)
    return made


def add_quant_dequant(module: Module) -> Module:
    """Wrap leaves that have a `qconfig` in QuantWrappers; returns the module, or its wrapper."""
    children = list(module.named_children())
    if not children and getattr(module, "qconfig", None):
        return QuantWrapper(module)
    for name, child in children:
        module._modules[name] = add_quant_dequant(child)
    return module
