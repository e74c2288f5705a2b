"""Programs in memory: load the MIL program of a package, walk it, and write it back as it is."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from corepress.config.suggestions import did_you_mean, listed
from corepress.coreml._coremltools import PASS_REGISTRY, ct, load_milproto, mil_convert, undisturbed
from corepress.coreml.package import open_package, reading
from corepress.errors import ExportError
from corepress.targets.deployment import DeploymentTarget


def open_model(model: Any) -> Any:
    """Return the MLModel of a model or of the path of an `.mlpackage`; raises ExportError when it is no ML program."""
    if isinstance(model, str | Path):
        model = open_package(Path(model))
    if not isinstance(model, ct.models.MLModel):
        raise ExportError(f"expected an MLModel or the path of an .mlpackage, not {type(model).__name__}")
    spec = model.get_spec()  # a copy of the whole specification
    kind = spec.WhichOneof("Type")
    if kind is None:
        raise ExportError("the model is empty; its package may be damaged")
    if kind != "mlProgram":
        raise ExportError(
            f"the model is of type {kind}, not an ML program; convert it again with convert_to='mlprogram'"
        )
    DeploymentTarget.of_specification(spec.specificationVersion)
    return model


def load_program(mlmodel: Any, version: int | None = None) -> Any:
    """Return the MIL program of an MLModel, read from its package; raises ExportError when it is damaged.

    Its operations are those of the specification `version`, by default that of the model.
    """
    spec = mlmodel.get_spec()
    with reading(mlmodel):
        return load_milproto(
            model_spec=spec,
            specification_version=int(version or spec.specificationVersion),
            file_weights_dir=mlmodel.weights_dir,
        )


def description_of(model: Any) -> Any:
    """Return what an MLModel says of its inputs and outputs; its default function is the one that it was opened for."""
    description = model.get_spec().description
    if description.functions and model.function_name:
        description.defaultFunctionName = model.function_name
    return description


def functions_of(program: Any, name: str | None = None) -> dict[str, Any]:
    """Return the functions of a program by name, the main one first: all of them, or the one of a name.

    Raises ExportError for an unknown name.
    """
    functions = program.functions
    if name is None:
        # The order in which a package lists them differs between processes.
        return {key: functions[key] for key in sorted(functions, key=lambda key: (key != "main", key))}
    if name in functions:
        return {name: functions[name]}
    near = did_you_mean(name, functions) or f"; it has {listed(sorted(functions)) or 'none'}"
    raise ExportError(f"the program has no function {name!r}{near}")


def blocks(program: Any, function: str | None = None) -> Iterator[Any]:
    """Yield the functions of a program, or one of them, and all blocks nested in them; see `functions_of`."""
    for each in functions_of(program, function).values():
        yield from with_nested(each)


def name_of_function(program: Any, description: Any = None, name: str | None = None) -> str:
    """Return the name of a function of a program: by default that of its only one, or the default of the description.

    Raises ExportError for an unknown name, and where there are several functions and none is the default.
    """
    default = description.defaultFunctionName if description is not None else None
    only = next(iter(program.functions)) if len(program.functions) == 1 else None
    (found,) = functions_of(program, name or default or only or "main")
    return found


def chosen_function(program: Any, description: Any = None, name: str | None = None) -> Any:
    """Return a function of a program; see `name_of_function`."""
    return program.functions[name_of_function(program, description, name)]


@attrs.frozen
class Opened:
    """An MLModel, its program, and the name of the function to look at; None for all functions."""

    model: Any
    program: Any
    function: str | None


def opened_to_compare(models: Iterable[Any], function: str | None) -> list[Opened]:
    """Open MLModels or `.mlpackage`s, each program once.

    A program of one function is compared as a whole with a function of another program, whatever it is called.

    Raises ExportError for an unknown function, and when a model is no ML program.
    """
    packages = [open_model(model) for model in models]
    programs = [load_program(package) for package in packages]
    several = any(len(program.functions) > 1 for program in programs)
    found = []
    for package, program in zip(packages, programs, strict=True):
        is_whole = function is None or (several and len(program.functions) == 1)
        found.append(Opened(package, program, None if is_whole else name_of_function(program, name=function)))
    return found


def interface_of(description: Any, function: str) -> Any:
    """Return what the description of a model says of the inputs and outputs of a function."""
    return next((each for each in description.functions if each.name == function), description)


def with_nested(block: Any) -> Iterator[Any]:
    """Yield a block and all blocks nested in it."""
    yield block
    for op in block.operations:
        for inner in op.blocks:
            yield from with_nested(inner)


def replace_value(old: Any, new: Any) -> None:
    """Let every reader of a constant value read another one instead, and remove the operations that nothing reads."""
    old.op.enclosing_block.replace_uses_of_var_after_op(
        anchor_op=old.op, old_var=old, new_var=new, no_check_var_types=True, force_replace=True
    )
    remove_unused(old.op)


def _join_functions(program: Any, description: Any) -> None:
    """Prepare a program of several functions for writing: constants that are equal in several are stored once."""
    PASS_REGISTRY["common::const_deduplication"]._deduplicate_const_across_functions(program)
    program.default_function_name = description.defaultFunctionName
    program.skip_all_passes = program.export_as_multifunction = True


def remove_unused(op: Any) -> None:
    """Remove an operation that nothing reads, and the constants behind it that then nothing reads either."""
    if any(var.child_ops or var.consuming_blocks for var in op.outputs):
        return
    op.enclosing_block.remove_ops([op])
    for given in {id(var.op): var.op for var in op.inputs.values() if not isinstance(var, list | tuple)}.values():
        if given is not None:
            remove_unused(given)


def write_program(
    program: Any, like: Any, metadata: Mapping[str, str], version: int | None = None, **options: Any
) -> Any:
    """Return an MLModel of the program with the interface of the MLModel `like` and more user-defined metadata.

    `version` is that of the specification, by default that of `like`. `options` go to the package writer:
    `skip_model_load`, by default as `like` was made, and `package_dir`. No default pass runs: some of them break joint
    forms.

    Raises ExportError when the package cannot be written.
    """
    options.setdefault("skip_model_load", getattr(like, "__proxy__", None) is None)
    spec = like.get_spec()
    spec.description.metadata.userDefined.update(metadata)
    if spec.description.functions:
        _join_functions(program, spec.description)
    with undisturbed():
        try:
            return mil_convert(
                program,
                convert_to="mlprogram",
                convert_from="milinternal",
                compute_units=like.compute_unit,
                specification_version=int(version or spec.specificationVersion),
                model_description=spec.description,
                main_pipeline=ct.PassPipeline.EMPTY,
                **options,
            )
        except (OSError, RuntimeError) as error:
            # The writers of coremltools raise RuntimeError when a disk is full.
            folder = options.get("package_dir") or tempfile.gettempdir()
            raise ExportError(f"the package cannot be written to {folder}, the disk may be full: {error}") from error
