"""Configurations whose options are assigned: checked when they are used, and no part of a pipeline that exists."""

import pytest
import torch

from corepress import Pipeline, Stage
from corepress.errors import ConfigError
from corepress_plugins.quantization import ModulePostTrainingQuantizerConfig, PostTrainingQuantizerConfig


def test_options_that_fit_together_may_be_assigned_one_by_one():
    config = ModulePostTrainingQuantizerConfig("int4")
    config.granularity = "per_block"
    config.block_size = 4
    config.weight_dtype = torch.int8
    assert config.weight_dtype == torch.int8
    assert config.weight_n_bits == 8
    pipeline = Pipeline([Stage("rtn", PostTrainingQuantizerConfig(config))])
    assert pipeline.compress(torch.nn.Linear(8, 8))


def test_options_that_do_not_fit_are_refused_where_they_are_used():
    config = PostTrainingQuantizerConfig(ModulePostTrainingQuantizerConfig())
    config.global_config.granularity = "per_block"
    with pytest.raises(ConfigError, match=r"global_config\.block_size: granularity per_block needs a block_size"):
        Pipeline([Stage("rtn", config)])


def test_a_later_assignment_does_not_change_a_pipeline():
    config = PostTrainingQuantizerConfig(ModulePostTrainingQuantizerConfig("int4"))
    pipeline = Pipeline([Stage("rtn", config)])
    config.global_config.weight_dtype = "int8"
    assert pipeline.stages[0].config.global_config.weight_dtype == "int4"
