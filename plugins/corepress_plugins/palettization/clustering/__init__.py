"""k-means of scalars and of vectors, the engine behind every palettization algorithm."""

from corepress_plugins.palettization.clustering.assignment import assign
from corepress_plugins.palettization.clustering.nearest import assign_vectors, squared_distances
from corepress_plugins.palettization.clustering.result import Clustering
from corepress_plugins.palettization.clustering.scalars import Scalars, cluster_scalars, cluster_together
from corepress_plugins.palettization.clustering.vectors import cluster_vectors

__all__ = [
    "Clustering",
    "Scalars",
    "assign",
    "assign_vectors",
    "cluster_scalars",
    "cluster_together",
    "cluster_vectors",
    "squared_distances",
]
