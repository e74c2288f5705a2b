"""Palettization with equally spaced entries."""
