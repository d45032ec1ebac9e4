"""torch.export: a module as one program that runs without its source."""

from funtorch.export.artifact import ArtifactError
from funtorch.export.dims import Dim, dims
from funtorch.export.examples import AdditionalInputs, ShapesCollection
from funtorch.export.native import add_executables, add_fixed
from funtorch.export.program import ExportedProgram, GraphSignature, export, load, save
from funtorch.export.training import ExportedStep, export_step, load_step
from funtorch.lowering.symbolic import ShapeError
from funtorch.utils._pytree import register_dataclass

ExportGraphSignature = GraphSignature

__all__ = [
    "AdditionalInputs",
    "ArtifactError",
    "Dim",
    "ExportGraphSignature",
    "ExportedProgram",
    "ExportedStep",
    "GraphSignature",
    "ShapeError",
    "ShapesCollection",
    "add_executables",
    "add_fixed",
    "dims",
    "export",
    "export_step",
    "load",
    "load_step",
    "register_dataclass",
    "save",
]
