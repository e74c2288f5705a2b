"""k-means of scalars and of vectors, the engine behind every palettization algorithm."""

from .assignment import assign
from .result import Clustering
from .scalars import cluster_scalars

__all__ = ["Clustering", "assign", "cluster_scalars"]
