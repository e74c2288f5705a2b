"""Post-training palettization under the name of the reference documentation."""

from typing import ClassVar

from torch import nn

from corepress.pipeline import BoundCompressor


class PostTrainingPalettizer(BoundCompressor):
    """Palettize a trained model by k-means, without data."""

    algorithm: ClassVar[str] = "kmeans"

    def compress(  # type: ignore[override]
        self, num_kmeans_workers: int | None = None, inplace: bool = False
    ) -> nn.Module:
        """Return the palettized model.

        Args:
            num_kmeans_workers: weights that are clustered at a time, by default one for each core; results do not
                depend on it.
            inplace: write the result into the model itself.
        """
        return super().compress(inplace=inplace, workers=num_kmeans_workers)
