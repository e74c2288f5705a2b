"""A weight that is quantized while the user trains."""

from typing import ClassVar

import torch
from torch import Tensor

from corepress.algorithm import NonFiniteInputError, Simulator, WeightFacts
from corepress.encoding import Affine
from corepress.errors import WeightError
from corepress_plugins.quantization.blocks import Grid
from corepress_plugins.quantization.integers import Integers
from corepress_plugins.quantization.linear_qat.config import ModuleLinearQuantizerConfig
from corepress_plugins.quantization.linear_qat.row_quantizer import RowQuantizer
from corepress_plugins.quantization.linear_qat.schedule import Milestones
from corepress_plugins.quantization.rows import RowLayout


class WeightSimulator(Simulator):
    """Show a weight as its integers decode, with one scale for each block of a grid.

    Ranges are observed in `refresh`: at first, and after each step.
    """

    takes_factor: ClassVar[bool] = True

    def __init__(self, facts: WeightFacts, grid: Grid, integers: Integers, config: ModuleLinearQuantizerConfig) -> None:
        super().__init__()
        self.layout = RowLayout(facts.shape, grid)
        self.grid = grid
        self.milestones = Milestones.of(config.milestones)
        self.batch_norm = "fold" if config.fold_batch_norm else "keep"
        self.rows = RowQuantizer(
            config.weight_observer,
            torch.Size(grid).numel(),
            integers,
            one_sided=integers.one_sided,
            learns=config.algorithm == "learnable",
        )

    @property
    def freezes_batch_norm(self) -> bool:  # type: ignore[override]
        """Whether the milestone of batch normalization is reached."""
        return self.milestones.freezes(int(self.step_count))

    def forward(self, weight: Tensor, factor: Tensor | None = None) -> Tensor:
        """Return the weight as it is quantized, once the milestone is reached.

        With a `factor`, which broadcasts to the weight, it is quantized times the factor, and divided by it again.
        """
        if not (self.milestones.quantizes(int(self.step_count)) and self.rows.has_seen):
            return weight
        return self._quantized(weight, factor)

    def refresh(self, weight: Tensor, factor: Tensor | None = None) -> None:
        """Observe the weight, times a factor, as far as observers are on.

        Raises:
            WeightError: some values are NaN or infinite.
        """
        observes = self.milestones.observes(int(self.step_count))
        if observes and not (self.rows.learns and self.milestones.always and self.rows.has_seen):
            self._observe(weight, factor)

    @torch.no_grad()
    def encode(self, weight: Tensor) -> Affine:
        """Return the integers of the weight, also of one that was never observed."""
        if not self.rows.has_seen:
            self._observe(weight)
        scale, zero_point = self.rows.scaling()
        integers = self.rows.integers
        shown = self.layout.rows(self._quantized(weight).float())
        # What is shown are multiples of the scale: the integers are found again without a second rounding.
        steps = (shown / scale[:, None]).round_() + zero_point[:, None]
        dtype = torch.int8 if integers.signed else torch.uint8
        return Affine(
            data=self.layout.values(steps.clamp_(integers.low, integers.high).to(dtype)),
            scale=scale.reshape(self.grid),
            zero_point=zero_point.to(dtype).reshape(self.grid) if integers.zero_points else None,
            n_bits=integers.n_bits,
        )

    def _quantized(self, weight: Tensor, factor: Tensor | None = None) -> Tensor:
        # Integers of numbers of half precision would be others than those in the package.
        with torch.autocast(weight.device.type, enabled=False):
            values, of_rows = self._split(weight.float(), factor)
            shown = self.layout.values(self.rows(self.layout.rows(values), of_rows))
            return (shown if factor is None or of_rows is not None else shown / factor).to(weight.dtype)

    def _split(self, values: Tensor, factor: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return values and the factor of each row, or the products where a row has several factors."""
        if factor is None:
            return values, None
        if all(n in (1, blocks) for n, blocks in zip(factor.shape, self.grid, strict=True)):
            return values, factor.expand(self.grid).reshape(-1)
        return values * factor, None

    def _observe(self, weight: Tensor, factor: Tensor | None = None) -> None:
        try:
            values, of_rows = self._split(weight.detach().float(), factor)
            self.rows.observe(self.layout.rows(values), of_rows)
        except NonFiniteInputError as error:
            raise WeightError(str(error)) from error
