"""corepress in other people's training loops: Lightning, the Trainer of Hugging Face, and a plain loop.

The modules `lightning`, `huggingface` and `loop` are imported when they are used; the first two need their packages.
"""

from corepress.lazy import lazy_names

__all__ = ["huggingface", "lightning", "loop"]

__getattr__ = lazy_names(__name__, {name: name for name in __all__})
