from corepress.coreml.pairing import paired


def test_names_are_matched_before_stems():
    a = {"w": 1, "w_to_fp16": 2}
    assert paired(a, {"w": 3}) == [(1, 3)]
    assert paired({"w": 3}, a) == [(3, 1)]


def test_suffixes_of_converter_and_compression_tools_do_not_count():
    a = {"conv_weight": 1, "fc_weight": 2, "x_cast_fp16": 3}
    b = {"fc_weight_to_fp16_palettized_quantized": 20, "conv_weight_to_fp16_sparsified": 10, "x": 30}
    assert paired(a, b) == [(1, 10), (2, 20), (3, 30)]


def test_a_stem_of_two_names_is_not_matched():
    assert paired({"w": 1}, {"w_to_fp16": 2, "w_palettized": 3}) == []


def test_the_beginning_before_a_number_does_not_count():
    assert paired({"var_0_weight": 1, "_3_weight": 2}, {"op_0_weight_palettized": 10, "op_3_weight": 20}) == [
        (1, 10),
        (2, 20),
    ]
