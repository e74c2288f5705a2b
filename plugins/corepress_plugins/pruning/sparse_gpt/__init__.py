"""SparseGPT: pruning in which the columns of a weight make up for what was pruned before them."""
