"""Differentiable k-means as an algorithm."""

from collections.abc import Mapping
from typing import Any

import attrs
import torch

from corepress.algorithm import (
    ActivationQuantizer,
    ActivationTrainingAlgorithm,
    SiteFacts,
    TrainingAlgorithm,
    Unsupported,
    WeightAlgorithm,
    WeightFacts,
    WeightView,
)
from corepress.encoding import AffineForm, DenseForm, Form, PaletteForm, Palettized
from corepress_plugins.palettization.dkm.config import ModuleDKMPalettizerConfig
from corepress_plugins.palettization.dkm.simulator import PaletteSimulator
from corepress_plugins.palettization.layout import GroupLayout, layout_of
from corepress_plugins.quantization.linear_qat.activation_simulator import quantizer_for
from corepress_plugins.quantization.linear_qat.config import ModuleLinearQuantizerConfig

_FEWEST_AXES_OF_CHANNELS = 2


class DifferentiableKMeans(WeightAlgorithm, TrainingAlgorithm, ActivationTrainingAlgorithm):
    """Let weights attend to 2 ** n_bits centroids while they are trained, and store each at its nearest in the end.

    Outputs change as soon as a model is prepared, unless there is a milestone. Cho et al., DKM: Differentiable k-Means
    Clustering Layer for Neural Network Compression (2022).
    """

    def predict(self, weight: WeightFacts, config: ModuleDKMPalettizerConfig) -> PaletteForm:
        """Return the palette's form; what groups, vectors or a permutation of axes do not fit is unsupported."""
        layout = _layout_of(weight, config)
        if config.enable_per_channel_scale and len(weight.shape) < _FEWEST_AXES_OF_CHANNELS:
            raise Unsupported("a vector has one value in each channel; turn enable_per_channel_scale off")
        lut: Form = DenseForm()
        if not config.lut_dtype.is_float:
            lut = AffineForm(8, config.lut_dtype.signed, layout.groups, zero_points=not config.lut_dtype.signed)
        scales = weight.shape[layout.axis] if config.enable_per_channel_scale else 0
        return attrs.evolve(layout.form(config.index_bits_for(weight.kind)), lut=lut, scales=scales)

    def encode(
        self,
        weight: WeightView,
        config: ModuleDKMPalettizerConfig,
        statistics: Mapping[str, Any],  # noqa: ARG002
        rng: torch.Generator,
    ) -> Palettized:
        """Palettize at once, without training."""
        simulator = self.simulate(weight, config, rng)
        simulator.after_sparsity = weight.mask is not None
        return simulator.encode(weight.values)

    def simulate(self, weight: WeightView, config: ModuleDKMPalettizerConfig, rng: torch.Generator) -> PaletteSimulator:
        """Return a simulator that palettizes from its milestone on."""
        return PaletteSimulator(weight.facts, _layout_of(weight, config), config, rng.initial_seed())

    def quantizer(self, site: SiteFacts, config: ModuleDKMPalettizerConfig) -> ActivationQuantizer | None:
        """Return a quantizer of an activation, where the configuration asks for one."""
        if not config.quantize_activations:
            return None
        return quantizer_for(site, ModuleLinearQuantizerConfig(activation_dtype=config.dtype))


def _layout_of(weight: WeightFacts, config: ModuleDKMPalettizerConfig) -> GroupLayout:
    order = config.cluster_permute
    if order is None:
        return layout_of(weight, config)
    if len(order) != len(weight.shape):
        raise Unsupported(f"cluster_permute {list(order)} has {len(order)} axes, and it has {len(weight.shape)}")
    return layout_of(weight, config.evolve(cluster_permute=None, tensor_axis=order[0]))
