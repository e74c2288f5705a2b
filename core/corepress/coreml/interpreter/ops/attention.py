"""Attention."""

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from corepress.coreml.interpreter.handlers import computes


@computes("scaled_dot_product_attention")
def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, attn_mask)
