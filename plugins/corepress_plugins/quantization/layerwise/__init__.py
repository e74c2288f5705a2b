"""Layer-wise compression: the error of each column of a weight is made up for by the columns after it.

GPTQ (Frantar et al. 2022) and SparseGPT (Frantar & Alistarh 2023) share this engine.
"""
