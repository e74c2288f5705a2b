"""The interpreter: run ML programs with torch kernels on the CPU of any machine.

A program is prepared once (`Executable`): constants are decoded, arguments parsed, lifetimes found. One handler
function, registered by operation type, computes one type of operation; plugins add more with `register_mil_ops`.
"""

from corepress.coreml.interpreter.arguments import Bools, Floats, Ints, Tensors
from corepress.coreml.interpreter.executable import Executable, run

__all__ = ["Bools", "Executable", "Floats", "Ints", "Tensors", "run"]
