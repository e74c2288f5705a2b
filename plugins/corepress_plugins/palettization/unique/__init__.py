"""Palettization without loss, for weights of few distinct values."""
