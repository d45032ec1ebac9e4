"""TorchScript archives that PyTorch wrote: their modules, whose code `interpreter` runs."""

from __future__ import annotations

import ast
import io
from typing import Any

from funtorch.device import device as as_device
from funtorch.jit.interpreter import Function, Interpreter
from funtorch.nn.module import Module
from funtorch.nn.parameter import Parameter
from funtorch.serialization.archive import Reader
from funtorch.serialization.storages import LoadedStorage
from funtorch.serialization.unpickling import DataUnpickler, StorageType
from funtorch.tensor import Tensor


class _Object:
    """An instance in the pickle: the qualified name of its class, and its attributes."""

    qualified = ""


class _Unpickler(DataUnpickler):
    """Knows the classes of the archive besides what every data pickle may name."""

    def __init__(self, file: Any, storage: Any) -> None:
        same = {("torch.jit._pickle", f"build_{n}"): list for n in _LISTS}
        tagged = {("torch.jit._pickle", "restore_type_tag"): lambda value, tag: value}
        super().__init__(file, storage, {**same, **tagged})
        self._added = (_Object,)

    def find_class(self, module: str, name: str) -> Any:
        """A class of the archive, or a global of the list."""
        if module.partition(".")[0] != "__torch__":
            return super().find_class(module, name)
        made = type(name, (_Object,), {"qualified": f"{module}.{name}"})
        self._callable.add(id(made))
        self._known[module, name] = made  # which keeps it alive, and with it its id
        return made


_LISTS = ("intlist", "doublelist", "boollist", "tensorlist")


class TorchScriptModule(Module):
    """A module of an archive: its state, and methods that are interpreted.

    classes: what the code says of each class (`__parameters__`, `__buffers__`).
    """

    def __init__(self, held: _Object, machine: Interpreter, classes: dict[str, Any]) -> None:
        super().__init__()
        own = self.__dict__
        own["_qualified"], own["_machine"] = held.qualified, machine
        listed = classes.get(held.qualified, {})
        for name, value in vars(held).items():
            if isinstance(value, _Object):
                self._modules[name] = TorchScriptModule(value, machine, classes)
            elif isinstance(value, Tensor) and name in listed.get("__parameters__", ()):
                self._parameters[name] = Parameter(value, value.requires_grad)
            elif isinstance(value, Tensor) and name in listed.get("__buffers__", ()):
                self._buffers[name] = value
            else:
                own[name] = value

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Interpret the module's own `forward`."""
        return self._run("forward", args, kwargs)

    def _run(self, name: str, args: Any, kwargs: Any) -> Any:
        return self._machine.call(f"{self._qualified}.{name}", (self, *args), kwargs)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        if "_machine" in own and f"{own['_qualified']}.{name}" in own["_machine"].functions:
            return lambda *args, **kwargs: self._run(name, args, kwargs)
        return super().__getattr__(name)

    @property
    def original_name(self) -> str:
        """The name of the class."""
        return str(self._qualified).rpartition(".")[2]

    @property
    def code(self) -> str:
        """The source of `forward` in the archive."""
        return ast.unparse(self._machine.functions[f"{self._qualified}.forward"].node)


def load(file: Any, where: Any = None) -> TorchScriptModule:
    """The module in a TorchScript archive. Raises RuntimeError for what cannot be read."""
    reader = Reader(file)
    constants = list(_unpickled(reader, "constants", where)) if reader.has("constants.pkl") else []
    functions, classes = _definitions(reader)
    return TorchScriptModule(
        _unpickled(reader, "data", where), Interpreter(functions, constants), classes
    )


def _unpickled(reader: Reader, name: str, where: Any) -> Any:
    storages: dict[str, LoadedStorage] = {}
    place = as_device("cpu") if where is None else as_device(where)

    def find(pid: Any) -> LoadedStorage:
        _, kind, key, *_ = pid
        assert isinstance(kind, StorageType)
        if key not in storages:
            assert kind.kind is not None
            memory = reader.memory(key, kind.kind.numpy, folder=name)
            storages[key] = LoadedStorage(memory, kind.kind, place)
        return storages[key]

    return _Unpickler(io.BytesIO(reader.read(f"{name}.pkl")), find).load()


def _definitions(reader: Reader) -> tuple[dict[str, Function], dict[str, Any]]:
    """(functions and methods by qualified name, lists that classes declare)."""
    functions: dict[str, Function] = {}
    classes: dict[str, Any] = {}
    start = f"{reader.folder}code/"
    for path in reader.zip.namelist():
        if not path.startswith(start) or not path.endswith(".py"):
            continue
        file = path.removeprefix(start)
        module = file.removesuffix(".py").replace("/", ".")
        try:
            tree = ast.parse(reader.read(f"code/{file}"))
        except (SyntaxError, ValueError) as error:
            raise RuntimeError(f"the TorchScript code in {file} is damaged: {error}") from error
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                functions[f"{module}.{node.name}"] = Function(node, file)
            elif isinstance(node, ast.ClassDef):
                name = f"{module}.{node.name}"
                classes[name] = {}
                for part in node.body:
                    if isinstance(part, ast.FunctionDef):
                        functions[f"{name}.{part.name}"] = Function(part, file)
                    elif isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name):
                        classes[name][part.targets[0].id] = ast.literal_eval(part.value)
    return functions, classes


def is_archive(names: list[str]) -> bool:
    """Do these records make a TorchScript archive?"""
    return any(n.endswith("/data.pkl") for n in names) and any("/code/" in n for n in names)
