"""The second moment that belongs to a weight."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from corepress.algorithm import Unsupported, WeightFacts
from corepress.calibration import Moment, SecondMoment
from corepress.errors import WeightError
from corepress.warn import warn_user

_READS_NO_NUMBERS = ("embedding",)


def moment_of(weight: WeightFacts, statistics: Mapping[str, Any]) -> Tensor:
    """Return the second moment (groups, columns, columns) of the inputs that meet the columns of a weight.

    A weight whose layer read nothing gets zeros, with a warning if it could have: its values are then rounded one by
    one.

    Raises:
        WeightError: the statistic does not fit the weight.
    """
    moment: Moment = statistics[SecondMoment.spec().name]
    groups, _, columns = weight.matrix_shape
    if tuple(moment.matrix.shape) != (groups, columns, columns):
        raise WeightError(
            f"{weight.name}: the second moment of its inputs has shape {tuple(moment.matrix.shape)}, and the weight "
            f"needs {(groups, columns, columns)}; gather it anew for this weight"
        )
    if not moment.count and weight.kind not in _READS_NO_NUMBERS:
        warn_user(
            f"{weight.name}: no calibration data reached its layer, so that no error is made up for; "
            "pass data that use every layer"
        )
    return moment.matrix


def require_inputs(weight: WeightFacts) -> None:
    """Refuse what meets no inputs: look-up tables and vectors."""
    if weight.slot == "part":
        raise Unsupported(
            "a look-up table meets no inputs; quantize it with rtn, or leave out the palettization before"
        )
    if len(weight.shape) < 2:
        raise Unsupported(f"a {len(weight.shape)}-D parameter is no matrix that inputs are multiplied with; use rtn")
    if not weight.count:
        raise Unsupported("it has no elements")
