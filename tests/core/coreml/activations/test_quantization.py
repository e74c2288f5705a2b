import numpy as np
import pytest
from tests.core.coreml.programs import package

from corepress.coreml import run
from corepress.coreml._coremltools import mb, types
from corepress.errors import ExportError


def pooled(x, name):
    return mb.max_pool(x=x, kernel_sizes=[1, 1], pad_type="valid", name=name)


def reads(program, name):
    """Return the names of what an operation reads, without constants."""
    (op,) = [op for op in program.functions["main"].operations if op.name == name]
    return [op.inputs[key].name for key in ("x", "y") if key in op.inputs]


@pytest.mark.parametrize(
    ("fused", "options"),
    [
        ("leaky_relu", {"alpha": 0.1}),
        ("tanh", {}),
        ("scaled_tanh", {"alpha": 1.0, "beta": 1.0}),
        ("sigmoid", {}),
        ("sigmoid_hard", {"alpha": 0.2, "beta": 0.5}),
        ("relu", {}),
        ("relu6", {}),
    ],
)
def test_an_operation_and_the_activation_after_it_are_quantized_as_one(program, conv, quantize, chain, fused, options):
    built = program(lambda a: mb.softmax(x=getattr(mb, fused)(x=conv(a, "c"), **options)))
    assert chain(quantize(built)) == [
        "quantize", "dequantize", "conv", fused, "quantize", "dequantize", "softmax",
    ]  # fmt: skip


def test_another_operation_is_not_fused(program, conv, quantize, chain):
    built = program(lambda a: mb.softmax(x=mb.softplus(x=conv(a, "c"))))
    assert chain(quantize(built)) == [
        "quantize", "dequantize", "conv", "quantize", "dequantize", "softplus", "softmax",
    ]  # fmt: skip


def test_outputs_of_the_program_are_not_quantized(program, conv, quantize, chain):
    assert chain(quantize(program(lambda a: conv(a, "c")))) == ["quantize", "dequantize", "conv"]
    fused = program(lambda a: mb.relu(x=conv(a, "c")))
    assert chain(quantize(fused)) == ["quantize", "dequantize", "conv", "relu"]


def test_an_output_that_is_read_as_well_stays_an_output(program, conv, quantize):
    def function(a):
        first = conv(a, "first")
        return first, mb.softmax(x=conv(first, "second"))

    built = quantize(program(function))
    assert built.functions["main"].outputs[0].name == "first"
    assert reads(built, "second") == ["first_dequantized"]


def test_an_addition_has_a_pair_for_each_input(program, quantize, chain):
    built = program(lambda a, b: mb.softmax(x=mb.add(x=a, y=b)), (2, 2), (2, 2))
    assert chain(quantize(built)) == [
        "quantize", "dequantize", "quantize", "dequantize", "add", "quantize", "dequantize", "softmax",
    ]  # fmt: skip


def test_one_pair_stands_between_two_operations(program, conv, quantize, chain):
    built = program(lambda a: mb.softmax(x=conv(conv(a, "first"), "second")))
    pair = ["quantize", "dequantize"]
    assert chain(quantize(built)) == [*pair, "conv", *pair, "conv", *pair, "softmax"]


def test_a_value_that_several_operations_read_is_quantized_once(program, conv, quantize, chain):
    def function(a):
        first = conv(a, "first")
        return mb.softmax(x=mb.add(x=conv(first, "second"), y=first, name="sum"))

    built = quantize(program(function))
    assert chain(built).count("quantize") == 4
    assert reads(built, "second") == ["first_dequantized"]
    assert reads(built, "sum") == ["second_dequantized", "first_dequantized"]


def test_operations_that_are_not_chosen_read_what_was_quantized_behind_a_chosen_one(program, conv, quantize, chain):
    built = program(lambda a: mb.softmax(x=conv(conv(a, "first"), "second")))
    assert chain(quantize(built, "first")) == [
        "quantize", "dequantize", "conv", "quantize", "dequantize", "conv", "softmax",
    ]  # fmt: skip


def test_each_operation_has_its_own_configuration(program, conv, quantize, scales):
    def function(a):
        return mb.softmax(x=conv(a, "first")), mb.softmax(x=conv(a, "second"))

    ones = [{"a": np.ones((1, 2, 4, 4), np.float32)}]
    built = quantize(program(function), first=64, second=16, data=ones)
    assert {scales(built)[name] for name in ("first", "second")} == {1 / 64, 1 / 16}
    assert reads(built, "first") != reads(built, "second")


def test_what_was_quantized_before_is_not_quantized_again(program, conv, quantize, chain):
    built = quantize(program(lambda a: mb.softmax(x=mb.relu(x=conv(pooled(a, "m"), "c")))))
    before = chain(built)
    assert chain(quantize(built)) == before


def test_a_value_read_in_a_nested_block_is_quantized_there_too(program, conv, quantize, chain):
    def function(a):
        x = conv(a, "c")
        positive = mb.greater(x=mb.reduce_max(x=a, keep_dims=False), y=0.0)
        return mb.cond(pred=positive, _true_fn=lambda: mb.softmax(x=x, name="inner"), _false_fn=lambda: mb.relu(x=a))

    built = quantize(program(function))
    (nested,) = [op.blocks[0] for op in built.functions["main"].operations if op.blocks]
    assert [op.inputs["x"].name for op in nested.operations if op.name == "inner"] == ["c_dequantized"]


def test_the_scale_has_the_programs_precision_and_a_zero_point_of_zero_is_not_stored(program, conv, quantize):
    built = quantize(program(lambda a: conv(a, "c"), dtype=types.fp16))
    (op,) = [op for op in built.functions["main"].operations if op.op_type == "quantize"]
    assert op.scale.val == np.float16(1 / 127)
    assert op.scale.dtype is types.fp16
    assert op.zero_point is None


def test_a_quantized_program_is_written_and_runs(program, conv, quantize):
    def function(a):
        return mb.relu(x=mb.add(x=pooled(conv(a, "c"), "m"), y=a, name="s"))

    x = np.random.default_rng(0).uniform(-1, 1, (1, 2, 4, 4)).astype(np.float32)
    built = quantize(program(function), data=[{"a": x}])
    (found,) = run(package(built, "iOS18"), {"a": x}).values()
    assert np.abs(found - np.maximum(2 * x, 0)).max() < 3 / 127


def test_no_choice_reads_no_data(program, conv):
    from corepress.coreml.activations import quantize_activations

    built = program(lambda a: conv(a, "c"))
    quantize_activations(built, {}, [])
    assert [op.op_type for op in built.functions["main"].operations if op.op_type != "const"] == ["conv"]


def test_a_name_without_activations_is_an_error(program, conv, quantize):
    with pytest.raises(ExportError) as caught:
        quantize(program(lambda a: conv(a, "first")), "firsst")
    assert str(caught.value) == (
        "the program has no operation 'firsst' whose activations can be quantized; did you mean 'first'?"
    )


def test_a_program_before_ios17_is_refused(program, conv, quantize):
    with pytest.raises(ExportError) as caught:
        quantize(program(lambda a: conv(a, "c"), target="iOS16"))
    assert str(caught.value) == (
        "activations can be quantized from iOS17 on; convert with minimum_deployment_target='iOS17'"
    )
