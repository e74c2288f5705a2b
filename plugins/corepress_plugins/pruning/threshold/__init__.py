"""Pruning by threshold."""
