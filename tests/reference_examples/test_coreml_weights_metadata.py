"""Looking at the weights of a Core ML program, as the reference documentation shows it."""

from collections import OrderedDict

import coremltools as ct
from tests.plugins.coreml import programs

from corepress_plugins.coreml import (
    OpMagnitudePrunerConfig,
    OpPalettizerConfig,
    OptimizationConfig,
    get_weights_metadata,
    palettize_weights,
    prune_weights,
)


def test_weights_are_chosen_by_what_they_are(tmp_path, capsys):
    first = prune_weights(
        programs.layers_in_a_row(),
        OptimizationConfig().set_op_name("conv1", OpMagnitudePrunerConfig(target_sparsity=0.6)),
    )
    second = palettize_weights(first, OptimizationConfig().set_op_name("conv2", OpPalettizerConfig(nbits=4)))
    second.save(str(tmp_path / "model.mlpackage"))

    mlmodel = ct.models.MLModel(str(tmp_path / "model.mlpackage"))
    weight_metadata_dict = get_weights_metadata(mlmodel, weight_threshold=2048)

    # get the weight names with size > 25600
    large_weights = []
    for k, v in weight_metadata_dict.items():
        if v.val.size >= 25600:
            large_weights.append(k)

    # get the weight names with sparsity >= 50%
    sparse_weights = []
    for k, v in weight_metadata_dict.items():
        if v.sparsity >= 0.5:
            sparse_weights.append(k)

    # get the weight names with unique elements <= 16
    palettized_weights = []
    for k, v in weight_metadata_dict.items():
        if v.unique_values <= 16:
            palettized_weights.append(k)

    assert (large_weights, sparse_weights, palettized_weights) == (["fc_w"], ["conv1_w"], ["conv2_w"])

    # Access to each weight metadata (type of CoreMLWeightMetaData).
    weight_meta_data = weight_metadata_dict["conv1_w"]
    print("numpy array data for the weight: ")
    print(weight_meta_data.val)
    print("Sparsity of the weight: ", weight_meta_data.sparsity)
    print("Number of unique values in the weight: ", weight_meta_data.unique_values)

    # Access to the child ops this weight feeds into.
    child_op = weight_meta_data.child_ops[0]
    print("name of the child op: ", child_op.name)
    print("op type of the child op: ", child_op.op_type)
    print("dictionary: ", child_op.params_name_mapping)

    assert capsys.readouterr().out.splitlines()[-3:] == [
        "name of the child op:  conv1",
        "op type of the child op:  conv",
        f"dictionary:  {OrderedDict(weight='conv1_w')}",
    ]
