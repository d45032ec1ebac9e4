"""torch.export: a module as one program that runs without its source."""

from funtorch.export.artifact import ArtifactError
from funtorch.export.dims import Dim, dims
from funtorch.export.native import add_executables, add_fixed
from funtorch.export.program import ExportedProgram, GraphSignature, export, load, save
from funtorch.export.training import ExportedStep, export_step, load_step
from funtorch.lowering.symbolic import ShapeError

ExportGraphSignature = GraphSignature

__all__ = [
    "ArtifactError",
    "Dim",
    "ExportGraphSignature",
    "ExportedProgram",
    "ExportedStep",
    "GraphSignature",
    "ShapeError",
    "add_executables",
    "add_fixed",
    "dims",
    "export",
    "export_step",
    "load",
    "load_step",
    "save",
]
