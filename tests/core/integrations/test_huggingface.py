"""The callback for the Trainer of Hugging Face: a small BERT, accumulated gradients, and resumed checkpoints."""

import pytest
import torch
from torch.utils.data import Dataset

from corepress import Pipeline, Stage
from corepress.errors import StateError
from corepress.targets import torch_weights

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
from corepress.integrations.huggingface import CompressionCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


class Sentences(Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return {"input_ids": torch.randint(0, 64, (6,), generator=generator), "labels": torch.tensor(index % 2)}


def bert():
    config = transformers.BertConfig(
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=8,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return transformers.BertForSequenceClassification(config)


def callback_for(model):
    schedule = {"target_sparsity": 0.5, "scheduler": {"update_steps": [1, 2, 3]}}
    quantization = {"algorithm": "learnable", "weight_dtype": "int4"}
    stages = [Stage("magnitude", {"global_config": schedule}), Stage("linear_qat", {"global_config": quantization})]
    example = {"input_ids": torch.zeros(2, 6, dtype=torch.int64)}
    return CompressionCallback(Pipeline(stages), model, example)


def trainer_for(model, callback, folder, steps, accumulated=1, save=2):
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=2,
        max_steps=steps,
        gradient_accumulation_steps=accumulated,
        save_steps=save,
        learning_rate=1e-3,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        logging_strategy="no",
        dataloader_pin_memory=False,
    )
    return transformers.Trainer(model=model, args=arguments, train_dataset=Sentences(), callbacks=[callback])


def finished(callback):
    return {name: tensor.clone() for name, tensor in callback.finalize().state_dict().items()}


def test_a_model_is_trained_and_finalized(tmp_path):
    model = bert()
    callback = callback_for(model)
    before = [parameter.detach().clone() for parameter in callback.run.parameters()]
    trainer_for(model, callback, tmp_path, 4).train()
    assert callback.run.steps == 4
    learned = list(callback.run.parameters())
    assert any(not torch.equal(old, new) for old, new in zip(before, learned, strict=True))
    assert callback.finalize() is model
    forms = {weight.name: weight.encoding().form.describe() for weight in torch_weights(model)}
    assert forms["bert.encoder.layer.0.attention.self.query.weight"] == "50% sparse, int4"


def test_schedules_follow_the_optimizer_where_gradients_are_accumulated(tmp_path):
    model = bert()
    callback = callback_for(model)
    trainer_for(model, callback, tmp_path, 2, accumulated=3).train()
    assert callback.run.steps == 2


def test_a_checkpoint_goes_on_with_the_same_bits(tmp_path):
    whole = bert()
    callback = callback_for(whole)
    trainer_for(whole, callback, tmp_path, 4).train()
    wanted = finished(callback)
    assert (tmp_path / "checkpoint-2" / "corepress.pt").exists()

    model = bert()
    callback = callback_for(model)
    trainer_for(model, callback, tmp_path, 4).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))

    found = finished(callback)
    assert callback.run.steps == 4
    assert [name for name, tensor in wanted.items() if not torch.equal(found[name], tensor)] == []


def test_a_checkpoint_without_a_run_is_refused(tmp_path):
    model = bert()
    trainer_for(model, callback_for(model), tmp_path, 2).train()
    (tmp_path / "checkpoint-2" / "corepress.pt").unlink()
    model = bert()
    with pytest.raises(StateError, match=r"goes on at step 2, and .*corepress\.pt does not exist"):
        trainer_for(model, callback_for(model), tmp_path, 4).train(
            resume_from_checkpoint=str(tmp_path / "checkpoint-2")
        )
