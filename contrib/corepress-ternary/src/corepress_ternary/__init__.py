"""Ternary weights, a plugin of corepress."""
