"""The plugin `sparse_gpt`."""

from corepress.plugin import AlgorithmSpec, hookimpl


@hookimpl
def register_algorithms() -> list[AlgorithmSpec]:
    """Return the algorithm."""
    return [
        AlgorithmSpec(
            name="sparse_gpt",
            summary="Prune weights column by column, and quantize them if asked; later columns make up for errors "
            "(SparseGPT).",
            config="corepress_plugins.pruning.sparse_gpt.config:SparseGPTConfig",
            implementation="corepress_plugins.pruning.sparse_gpt.algorithm:SparseGPT",
            needs="inputs",
            produces="sparsity",
            targets=("torch", "coreml"),
        )
    ]
