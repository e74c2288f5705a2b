"""Programs in memory: load the MIL program of a package, walk it, and write it back as it is."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from corepress.coreml._coremltools import ct, load_milproto, mil_convert, undisturbed
from corepress.errors import ExportError


def open_model(model: Any) -> Any:
    """Return the MLModel of a model or of the path of an `.mlpackage`; raises ExportError when it is no ML program."""
    if isinstance(model, str | Path):
        path = Path(model)
        if not (path / "Manifest.json").is_file():
            raise ExportError(f"{path} is not an .mlpackage; give the folder that MLModel.save has written")
        model = ct.models.MLModel(str(path), skip_model_load=True)
    if not isinstance(model, ct.models.MLModel):
        raise ExportError(f"expected an MLModel or the path of an .mlpackage, not {type(model).__name__}")
    kind = model.get_spec().WhichOneof("Type")
    if kind != "mlProgram":
        raise ExportError(f"the model is of type {kind}, not an ML program; convert it with convert_to='mlprogram'")
    return model


def load_program(mlmodel: Any) -> Any:
    """Return the MIL program of an MLModel, read from its package; raises ExportError when it is damaged."""
    spec = mlmodel.get_spec()
    try:
        return load_milproto(
            model_spec=spec, specification_version=spec.specificationVersion, file_weights_dir=mlmodel.weights_dir
        )
    except Exception as error:
        raise ExportError(f"the package cannot be read, its weight file may be damaged: {error}") from error


def blocks(program: Any) -> Iterator[Any]:
    """Yield the functions of a program and all blocks nested in them, the main function first."""
    for _, function in sorted(program.functions.items(), key=lambda item: item[0] != "main"):
        yield from _with_nested(function)


def _with_nested(block: Any) -> Iterator[Any]:
    yield block
    for op in block.operations:
        for inner in op.blocks:
            yield from _with_nested(inner)


def write_program(program: Any, like: Any, metadata: Mapping[str, str], **options: Any) -> Any:
    """Return an MLModel of the program with the interface of the MLModel `like` and more user-defined metadata.

    `options` go to the package writer: `skip_model_load`, `package_dir`. No default pass runs: some of them break
    joint forms.
    """
    spec = like.get_spec()
    spec.description.metadata.userDefined.update(metadata)
    with undisturbed():
        return mil_convert(
            program,
            convert_to="mlprogram",
            convert_from="milinternal",
            compute_units=like.compute_unit,
            specification_version=spec.specificationVersion,
            model_description=spec.description,
            main_pipeline=ct.PassPipeline.EMPTY,
            **options,
        )
