"""funtorch as a backend of ONNX: `prepare(model).run(inputs)`, `run_model`, `run_node`."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep, Device, namedtupledict

from funtorch import cuda
from funtorch.grad_mode import no_grad
from funtorch.onnx.module import OnnxModule, as_arrays
from funtorch.tensor import Tensor


class FuntorchRep(BackendRep):
    """A prepared model. `module` is the `nn.Module` behind it."""

    def __init__(self, model: onnx.ModelProto, device: str) -> None:
        self.module = OnnxModule(model).eval()
        if not device.upper().startswith("CPU"):
            self.module.to(device.lower())

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """NumPy arrays out for arrays in: a sequence in the graph's order, or a dict by name."""
        if isinstance(inputs, np.ndarray | Tensor):
            inputs = [inputs]
        positional, named = ((), inputs) if isinstance(inputs, dict) else (inputs, {})
        with no_grad():
            outputs = self.module.run(positional, named)
        made = namedtupledict("Outputs", self.module.output_names)
        return made(*as_arrays(outputs))


class FuntorchBackend(Backend):
    """The interface that `onnx.backend.test` and other tools expect."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> FuntorchRep:
        """Check the model and load it."""
        super().prepare(model, device, **kwargs)
        return FuntorchRep(model, device)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Any = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Run one node on arrays."""
        super().run_node(node, inputs, device, outputs_info, **kwargs)
        arrays = list(inputs.values()) if isinstance(inputs, dict) else list(inputs)
        used = [n for n in node.input if n]
        infos = [
            onnx.helper.make_tensor_value_info(
                n, onnx.helper.np_dtype_to_tensor_dtype(np.asarray(a).dtype), np.shape(a)
            )
            for n, a in zip(used, arrays, strict=True)
        ]
        outs = [onnx.helper.make_empty_tensor_value_info(n) for n in node.output if n]
        graph = onnx.helper.make_graph([node], "node", infos, outs)
        opset = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        imports = [onnx.helper.make_opsetid(node.domain, opset)]
        return FuntorchRep(onnx.helper.make_model(graph, opset_imports=imports), device).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """'CPU' always, 'CUDA' where JAX sees a GPU."""
        return Device(device).type == 0 or cuda.is_available()


prepare = FuntorchBackend.prepare
run_model = FuntorchBackend.run_model
run_node = FuntorchBackend.run_node
supports_device = FuntorchBackend.supports_device
is_compatible = FuntorchBackend.is_compatible
