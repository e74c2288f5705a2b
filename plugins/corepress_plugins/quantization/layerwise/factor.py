"""The triangular factor of the second moment, which says how columns make up for each other's errors."""

import attrs
import torch
from torch import Tensor

from corepress.errors import WeightError

_FIRST_RETRY, _GROWTH, _RETRIES = 1e-6, 10.0, 14
# The variance of an input, given those after it, below which the coefficients are noise; the mean variance is one.
_SMALLEST_PIVOT = 1e-6


@attrs.frozen(eq=False)
class Factor:
    """The factorization `H = F diag(pivots²) Fᵀ` of damped second moments H (groups, columns, columns).

    `feedback` F is float32, unit upper triangular: rounding column k after the columns j < k minimizes the error of
    the layer's output when `sum(error[j] * F[j, k])` is added to it first. This is GPTQ without an inverse: F is the
    inverse of the unit upper factor of `H⁻¹` (Chee et al. 2023, QuIP, theorem 6). `pivots` (groups, columns), float64,
    are the reciprocals of the diagonal of the upper Cholesky factor of `H⁻¹`. `dampening` is what was added to the
    diagonal, as a fraction of its mean: the largest over the groups.
    """

    feedback: Tensor
    pivots: Tensor
    dampening: float


def activation_order(matrix: Tensor) -> Tensor:
    """Return the columns (groups, columns) of second moments from the largest diagonal entry to the smallest."""
    return matrix.diagonal(dim1=1, dim2=2).argsort(dim=1, descending=True, stable=True)


def factorized(matrix: Tensor, dampening: float, name: str, order: Tensor | None = None) -> Factor:
    """Factorize second moments (groups, columns, columns), float32, with their columns in `order` (groups, columns).

    Inputs that were always zero, which have neither variance nor covariance, count as inputs that nothing depends on.
    Where the matrix is too close to a singular one, the dampening grows tenfold until the factorization is sound.

    Raises:
        WeightError: the matrix holds NaN or infinite values, or is no second moment; `name` says of which weight.
    """
    diagonal = matrix.diagonal(dim1=1, dim2=2).double()
    _check(matrix, diagonal, name)
    live = diagonal > 0
    mean = (diagonal.sum(1) / live.sum(1)).where(live.any(1), 1.0)
    lower, used = _damped_cholesky(_reversed(matrix, order).div_(mean[:, None, None]), dampening, name)
    pivots = lower.diagonal(dim1=1, dim2=2).clone()
    feedback = lower.div_(pivots[:, None, :]).float().flip(1, 2)
    return Factor(feedback, pivots.flip(1) * mean.sqrt()[:, None], used)


def _check(matrix: Tensor, diagonal: Tensor, name: str) -> None:
    if not torch.stack(torch.aminmax(matrix)).isfinite().all():
        wrong = int((~matrix.isfinite()).sum())
        raise WeightError(
            f"{name}: {wrong} of {matrix.numel()} entries of the second moment of its inputs are NaN or infinite; "
            "look for NaN in the calibration data and in the layers before"
        )
    if float(diagonal.min()) < 0:
        raise WeightError(
            f"{name}: the second moment of its inputs has {float(diagonal.min()):g} on its diagonal; "
            "pass the mean of x xᵀ, whose diagonal is not negative"
        )


def _reversed(matrix: Tensor, order: Tensor | None) -> Tensor:
    """Return the matrix in float64 with its columns in reverse order: its lower factor is then the upper one."""
    if order is not None:
        rows = order[:, :, None].expand_as(matrix)
        matrix = matrix.gather(1, rows).gather(2, order[:, None, :].expand_as(matrix))
    return matrix.flip(1, 2).double()


def _damped_cholesky(work: Tensor, dampening: float, name: str) -> tuple[Tensor, float]:
    """Return the lower factor of matrices of mean variance one, and the dampening that was enough for all of them."""
    diagonal = work.diagonal(dim1=1, dim2=2)
    undamped = diagonal.where(diagonal > 0, 1.0)
    damping = torch.full((len(work), 1), dampening, dtype=torch.float64)
    for _ in range(_RETRIES):
        diagonal.copy_(undamped + damping)
        lower, info = torch.linalg.cholesky_ex(work)
        smallest = lower.diagonal(dim1=1, dim2=2).amin(1).square()
        sound = (info == 0) & (smallest >= _SMALLEST_PIVOT)
        if sound.all():
            return lower, float(damping.max())
        damping = damping.where(sound[:, None], (damping * _GROWTH).clamp_min(_FIRST_RETRY))
    raise WeightError(
        f"{name}: the second moment of its inputs cannot be factorized even with a hessian_dampening of "
        f"{float(damping.max()) / _GROWTH:g}; it is no mean of x xᵀ"
    )
