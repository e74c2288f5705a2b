"""The callback for Lightning: the same results as a plain loop, with accumulated gradients, and from checkpoints."""

import warnings

import pytest
import torch
from tests.core.integrations.conftest import RATE, forms, loss_of, network, pipeline, plainly_trained, samples
from torch import nn
from torch.utils.data import DataLoader

from corepress.errors import StateError

lightning = pytest.importorskip("lightning.pytorch", exc_type=ImportError)
from corepress.integrations.lightning import CompressionCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = network()
        self.example_input_array = torch.ones(2, 8)

    def forward(self, inputs):
        return self.net(inputs)

    def training_step(self, batch, _):
        return loss_of(self.net, batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=RATE)


def fit(callback, folder, batches=None, *, epochs=1, accumulated=1, resumed=None, module=None):
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accumulate_grad_batches=accumulated,
        callbacks=[callback],
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    module = Classifier() if module is None else module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, DataLoader(samples() if batches is None else batches, batch_size=None), ckpt_path=resumed)
    return trainer, module


def test_it_trains_as_a_plain_loop(assert_same, tmp_path):
    callback = CompressionCallback(pipeline(), torch.ones(2, 8), attribute="net")
    _, module = fit(callback, tmp_path)
    assert_same(module.net, plainly_trained()[0])
    assert forms(module.net) == {"0.weight": "50% sparse, int4", "2.weight": "50% sparse, int4"}


def test_the_whole_module_is_compressed_by_its_example_inputs(tmp_path):
    _, module = fit(CompressionCallback(pipeline()), tmp_path)
    assert forms(module) == {"net.0.weight": "50% sparse, int4", "net.2.weight": "50% sparse, int4"}


def test_schedules_follow_the_optimizer_where_gradients_are_accumulated(assert_same, tmp_path):
    callback = CompressionCallback(pipeline(), torch.ones(2, 8), attribute="net")
    _, module = fit(callback, tmp_path, accumulated=2)
    wanted, run = plainly_trained(accumulated=2)
    assert callback.run.steps == run.steps == 4
    assert_same(module.net, wanted)


def test_a_checkpoint_goes_on_with_the_same_bits(assert_same, tmp_path):
    first = CompressionCallback(pipeline(), torch.ones(2, 8), attribute="net", finalize=False)
    trainer, _ = fit(first, tmp_path, samples(4))
    trainer.save_checkpoint(tmp_path / "half.ckpt")

    second = CompressionCallback(pipeline(), torch.ones(2, 8), attribute="net")
    _, module = fit(second, tmp_path, samples(4), epochs=2, resumed=tmp_path / "half.ckpt")

    assert second.run.steps == 8
    assert_same(module.net, plainly_trained([*samples(4), *samples(4)])[0])


def test_it_is_finalized_by_hand_where_asked(tmp_path):
    callback = CompressionCallback(pipeline(), torch.ones(2, 8), attribute="net", finalize=False)
    _, module = fit(callback, tmp_path)
    assert not callback.run.finished
    assert callback.finalize() is module.net
    assert callback.run.finished


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(StateError, match=r"no run yet: pass the callback to Trainer"):
        CompressionCallback(pipeline()).finalize()
    with pytest.raises(StateError, match=r"Classifier has no module 'body'"):
        fit(CompressionCallback(pipeline(), attribute="body"), tmp_path)
    assert isinstance(Classifier().net, nn.Sequential)
