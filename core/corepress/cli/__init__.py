"""The command line: one small file per command.

The modules of the commands import neither torch nor coremltools at import time, to keep `corepress plugins` fast.
"""
