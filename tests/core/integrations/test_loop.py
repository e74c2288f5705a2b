"""The plain loop does what a loop that is written out does, and names bad data."""

import pytest
import torch
from tests.core.integrations.conftest import RATE, forms, loss_of, network, pipeline, plainly_trained, samples

from corepress.errors import PlanError, WeightError
from corepress.integrations.loop import train


def optimizer(parameters):
    return torch.optim.SGD(parameters, lr=RATE)


def test_it_trains_as_a_loop_that_is_written_out(assert_same):
    finished = train(pipeline(), network(), samples(), loss_of, optimizer, example_inputs=torch.ones(2, 8))
    assert_same(finished, plainly_trained()[0])
    assert forms(finished) == {"0.weight": "50% sparse, int4", "2.weight": "50% sparse, int4"}


def test_several_epochs_read_the_data_again(assert_same):
    finished = train(pipeline(), network(), samples(4), loss_of, optimizer, epochs=2, example_inputs=torch.ones(2, 8))
    assert_same(finished, plainly_trained([*samples(4), *samples(4)])[0])


def test_a_schedule_of_learning_rates_follows_the_batches():
    rates = []

    def schedule(made):
        rates.append(torch.optim.lr_scheduler.StepLR(made, 1, 0.5))
        return rates[0]

    train(pipeline(), network(), samples(3), loss_of, optimizer, schedule=schedule, example_inputs=torch.ones(2, 8))
    assert rates[0].get_last_lr() == [RATE * 0.5**3]


def test_in_place_the_model_itself_is_trained():
    model = network()
    assert train(pipeline(), model, samples(), loss_of, optimizer, example_inputs=[2, 8], inplace=True) is model


@pytest.mark.parametrize(
    ("data", "epochs", "message"),
    [
        ([], 1, "the data is empty"),
        (iter(samples()), 2, "ends after one epoch of 2"),
        (samples(), 0, "at least 1, got 0"),
    ],
)
def test_bad_data_is_named(data, epochs, message):
    with pytest.raises(PlanError, match=message):
        train(pipeline(), network(), data, loss_of, optimizer, epochs=epochs, example_inputs=[2, 8])


def test_a_loss_that_is_not_finite_names_the_batch():
    def loss(model, batch):
        return loss_of(model, batch) * (torch.nan if batch is data[1] else 1)

    data = samples(3)
    with pytest.raises(WeightError, match=r"^batch 1: the loss is nan; lower the learning rate"):
        train(pipeline(), network(), data, loss, optimizer, example_inputs=[2, 8])
