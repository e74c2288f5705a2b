"""What the weights of recurrent layers read is what the layers multiply them by."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from corepress import Pipeline, Stage
from corepress.calibration.sharing import Sharing
from corepress.calibration.undisturbed import undisturbed
from corepress.targets import torch_weights

LAYERS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
CELLS = {"LSTM": nn.LSTMCell, "GRU": nn.GRUCell, "RNN": nn.RNNCell}


def values(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def seen(module: nn.Module, parameter: str, *arguments, **keywords) -> list[torch.Tensor | None]:
    weight = next(weight for weight in torch_weights(module) if weight.name == parameter)
    found: list[torch.Tensor | None] = []
    with (
        undisturbed(module),
        torch.no_grad(),
        weight.listening(Sharing(), lambda given, *_: found.append(given.columns())),
    ):
        module(*arguments, **keywords)
    return found


def state_of(kind: str, count: int, *shape: int):
    hidden, cell = values(count, *shape, seed=1), values(count, *shape, seed=2)
    return (hidden, cell) if kind == "LSTM" else hidden


def step_by_step(kind: str, module: nn.RNNBase, inputs: torch.Tensor, state, layer: int, reverse: bool):
    """Walk a direction of a layer with a cell; return what it reads: inputs and hidden states, step by step."""
    directions = 2 if module.bidirectional else 1
    number = layer * directions + int(reverse)
    cell = CELLS[kind](inputs.shape[-1], module.hidden_size)
    ending = f"_l{layer}" + ("_reverse" if reverse else "")
    cell.load_state_dict(
        {name: getattr(module, name + ending) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    )
    hidden = tuple(part[number] for part in state) if kind == "LSTM" else state[number]
    steps = list(enumerate(inputs))
    before = [torch.empty(0)] * len(steps)
    after = [torch.empty(0)] * len(steps)
    for position, step in reversed(steps) if reverse else steps:
        before[position] = hidden[0] if kind == "LSTM" else hidden
        hidden = cell(step, hidden)
        after[position] = hidden[0] if kind == "LSTM" else hidden
    return torch.stack(before), torch.stack(after)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_every_weight_of_a_layer_reads_what_a_cell_would(kind, bidirectional, batch_first):
    torch.manual_seed(0)
    module = LAYERS[kind](5, 7, 3, bidirectional=bidirectional, batch_first=batch_first)
    inputs, state = values(4, 2, 5), state_of(kind, 6 if bidirectional else 3, 2, 7)
    given = inputs.transpose(0, 1) if batch_first else inputs
    for layer in range(3):
        outputs = []
        for reverse in (False, True)[: 2 if bidirectional else 1]:
            ending = f"_l{layer}" + ("_reverse" if reverse else "")
            before, after = step_by_step(kind, module, inputs, state, layer, reverse)
            outputs.append(after)
            (hidden,) = seen(module, f"weight_hh{ending}", given, state)
            torch.testing.assert_close(sorted_rows(hidden), sorted_rows(before))
            (read,) = seen(module, f"weight_ih{ending}", given, hx=state)
            torch.testing.assert_close(sorted_rows(read), sorted_rows(inputs))
        inputs = torch.cat(outputs, dim=-1)


def sorted_rows(columns: torch.Tensor) -> torch.Tensor:
    """Return the samples in an order that does not depend on which axis was the batch."""
    rows = columns.detach().flatten(0, -2)
    return rows[rows[:, 0].argsort()]


def test_states_are_zero_unless_given_and_a_batch_is_not_needed():
    module = nn.GRU(3, 4)
    (hidden,) = seen(module, "weight_hh_l0", values(5, 3))
    assert hidden.shape == (1, 5, 4)
    assert not hidden[0, 0].any()
    assert torch.equal(hidden[0, 1:], module(values(5, 3))[0][:-1])


def test_a_packed_sequence_shows_the_inputs_of_the_first_layer():
    packed = pack_padded_sequence(values(4, 2, 3), [4, 2])
    module = nn.LSTM(3, 4, 2)
    (columns,) = seen(module, "weight_ih_l0", packed)
    assert torch.equal(columns[0], packed.data)
    assert seen(module, "weight_hh_l0", packed) == [None]
    assert seen(module, "weight_ih_l1", packed) == [None]


def test_a_projected_lstm_reads_projected_states():
    module = nn.LSTM(3, 8, 2, proj_size=4)
    (hidden,) = seen(module, "weight_hh_l1", values(5, 1, 3))
    assert hidden.shape == (1, 5, 4)
    assert seen(module, "weight_hr_l0", values(5, 1, 3)) == [None]


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_reads_its_input_and_its_state(kind):
    cell, inputs, state = CELLS[kind](3, 4), values(2, 3), state_of(kind, 1, 2, 4)
    state = tuple(part[0] for part in state) if kind == "LSTM" else state[0]
    (columns,) = seen(cell, "weight_ih", inputs, state)
    assert torch.equal(columns[0], inputs)
    (columns,) = seen(cell, "weight_hh", inputs, state)
    assert torch.equal(columns[0], state[0] if kind == "LSTM" else state)
    assert seen(cell, "weight_hh", inputs) == [None]


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_recurrent_layers_train_as_they_will_be_finalized(kind, inplace):
    torch.manual_seed(0)
    network, inputs = LAYERS[kind](4, 6, 2), values(5, 2, 4)
    run = Pipeline([Stage("linear_qat")]).begin(network, (inputs,), inplace=inplace)
    for _ in range(2):
        run.model(inputs)[0].square().sum().backward()
        run.step()
    shown = run.model.eval()(inputs)[0]
    finished = run.finalize()
    assert type(finished) is LAYERS[kind]
    assert {weight.encoding().kind for weight in torch_weights(finished)} == {"affine"}
    torch.testing.assert_close(finished(inputs)[0], shown)


def test_the_weights_of_a_module_share_one_run_of_its_layers(monkeypatch):
    from corepress.targets.torch import recurrent

    ran = []
    run = recurrent._Steps._run
    monkeypatch.setattr(recurrent._Steps, "_run", lambda self, layer, x: (ran.append(layer), run(self, layer, x))[1])
    module = nn.LSTM(5, 4, 3, bidirectional=True).eval()
    Pipeline([Stage("gptq")]).compress(module, data=[(values(6, 2, 5),)])
    assert sorted(ran) == [0, 1, 2]


def with_old_norm(module):
    nn.utils.weight_norm(module, "weight_hh_l0")


def with_spectral_norm(module):
    nn.utils.spectral_norm(module, "weight_hh_l0")


def with_new_norm(module):
    nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")


def pruned(module):
    nn.utils.prune.l1_unstructured(module, "weight_hh_l0", 0.5)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("change", [with_old_norm, with_spectral_norm, with_new_norm, pruned])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_computed_weight_is_left_alone_with_the_way_out(kind, change):
    module = LAYERS[kind](8, 16)
    change(module)
    plan = Pipeline([Stage("kmeans", {"global_config": {"weight_threshold": 0}})]).plan(module)
    assert [row.name for row in plan.done] == ["weight_ih_l0"]
    (reason,) = (row.reason for row in plan.rows if row.name == "weight_hh_l0")
    assert "it is parametrized by" in reason
    assert "remove" in reason
