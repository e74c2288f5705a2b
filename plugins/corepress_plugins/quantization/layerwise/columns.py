"""A weight as columns in the order in which they are compressed."""

import attrs
import torch
from torch import Tensor

from corepress.algorithm import WeightFacts


@attrs.frozen(eq=False)
class Columns:
    """Turn values of a weight into columns and back; `order` (groups, columns) is that of work, None for their own."""

    facts: WeightFacts
    order: Tensor | None = None

    def of(self, values: Tensor) -> Tensor:
        """Return values of the weight's shape as (groups, columns, rows), contiguous; never the values themselves."""
        columns = self.facts.to_matrix(values).mT
        if self.order is None:
            return columns.clone(memory_format=torch.contiguous_format)
        return columns.gather(1, self.order[..., None].expand(-1, -1, columns.shape[2]))

    def back(self, columns: Tensor) -> Tensor:
        """Return columns (groups, columns, rows) in the shape of the weight; undoes `of`."""
        if self.order is not None:
            back = self.order.argsort(dim=1)
            columns = columns.gather(1, back[..., None].expand(-1, -1, columns.shape[2]))
        return self.facts.from_matrix(columns.mT).contiguous()
