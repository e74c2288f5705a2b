"""Encodings and the constant operations that hold them: written for a target, read back, and exact both ways."""
