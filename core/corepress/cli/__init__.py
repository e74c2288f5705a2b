"""The command line: one small file for each command.

No module that defines a command imports torch or coremltools when it is imported; listing plugins has to be quick.
"""
