"""Small models of `transformers` with random weights: one of each family that users bring."""

from collections.abc import Callable

import transformers as hf
from torch import nn

_TEXT = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "vocab_size": 500,
}
_IMAGE = {key: value for key, value in _TEXT.items() if key != "vocab_size"} | {"image_size": 64, "patch_size": 16}
_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_GROUPED = _TEXT | {"num_key_value_heads": 2}
_WHISPER = {
    **{f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (("layers", 2), ("attention_heads", 4))},
    **{f"{side}_ffn_dim": 256 for side in ("encoder", "decoder")},
}

ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "BERT": lambda: hf.BertModel(hf.BertConfig(**_TEXT)),
    "CLIP": lambda: hf.CLIPModel(hf.CLIPConfig(text_config={**_TEXT, **_TOKENS}, vision_config=_IMAGE)),
    "ConvNeXt": lambda: hf.ConvNextModel(hf.ConvNextConfig(hidden_sizes=[32, 64, 96, 128], depths=[1, 1, 2, 1])),
    "DeBERTa": lambda: hf.DebertaV2Model(hf.DebertaV2Config(**_TEXT)),
    "DistilBERT": lambda: hf.DistilBertModel(
        hf.DistilBertConfig(dim=128, n_layers=2, n_heads=4, hidden_dim=256, vocab_size=500)
    ),
    "GPT-2": lambda: hf.GPT2LMHeadModel(
        hf.GPT2Config(n_embd=128, n_layer=2, n_head=4, vocab_size=500, bos_token_id=1, eos_token_id=2)
    ),
    "GPT-OSS": lambda: hf.GptOssForCausalLM(hf.GptOssConfig(**_GROUPED, num_local_experts=4, head_dim=32, **_TOKENS)),
    "Llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**_GROUPED)),
    "Mamba": lambda: hf.MambaForCausalLM(hf.MambaConfig(hidden_size=256, num_hidden_layers=2, vocab_size=500)),
    "Mixtral": lambda: hf.MixtralForCausalLM(hf.MixtralConfig(**_GROUPED)),
    "MobileViT": lambda: hf.MobileViTModel(hf.MobileViTConfig()),
    "Qwen3-MoE": lambda: hf.Qwen3MoeForCausalLM(
        hf.Qwen3MoeConfig(**_GROUPED, moe_intermediate_size=128, num_experts=8, **_TOKENS)
    ),
    "SegFormer": lambda: hf.SegformerModel(hf.SegformerConfig(depths=[1] * 4, hidden_sizes=[16, 32, 64, 128])),
    "Swin": lambda: hf.SwinModel(hf.SwinConfig(embed_dim=64, depths=[1, 1], num_heads=[2, 4], image_size=64)),
    "T5": lambda: hf.T5ForConditionalGeneration(
        hf.T5Config(d_model=128, d_ff=256, d_kv=32, num_layers=2, num_heads=4, vocab_size=500)
    ),
    "ViT": lambda: hf.ViTModel(hf.ViTConfig(**_IMAGE)),
    "Wav2Vec2": lambda: hf.Wav2Vec2Model(
        hf.Wav2Vec2Config(**_TEXT, conv_dim=(32,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4)
    ),
    "Whisper": lambda: hf.WhisperModel(
        hf.WhisperConfig(d_model=128, vocab_size=500, decoder_start_token_id=1, **_WHISPER, **_TOKENS)
    ),
}
