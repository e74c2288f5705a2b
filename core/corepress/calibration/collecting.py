"""One pass over the data for all statistics that the planned algorithms ask for."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from corepress.calibration.batches import LossFunction, check_data, check_number, numbered
from corepress.calibration.gathering import Calibrated, Gathering, Requests, Results
from corepress.calibration.undisturbed import undisturbed


def collect(
    model: nn.Module,
    weights: Sequence[Calibrated],
    requests: Requests,
    data: Iterable[Any],
    loss_fn: LossFunction | None = None,
    *,
    fewest: int = 1,
    most: int | None = None,
) -> Results:
    """Return the requested statistics by weight name and statistic name.

    `data` yields batches: a tensor, a tuple or list of positional inputs, or a dict of keyword inputs. With `loss_fn`,
    each batch goes to `loss_fn(model, batch)` instead. At most `most` batches are read. The model runs in evaluation
    mode and is left as it was: mode, gradients, `requires_grad` and buffers included, and so is the global random
    state.

    A `PlanWarning` says that there are fewer than `fewest` batches, all of which are used, and one names the weights
    that the loss does not depend on.

    Raises:
        PlanError: there is no batch or one of a wrong kind, a layer reads NaN or infinite values, or a statistic needs
            a loss and `loss_fn` is missing or returns none.
    """
    check_data(data)
    gathering = Gathering(weights, requests, loss_fn)
    batches = 0
    with undisturbed(model, gathering.differentiated):
        for number, batch in numbered(data, most):
            gathering.see(model, number, batch)
            batches += 1
    check_number(batches, fewest)
    return gathering.results()
