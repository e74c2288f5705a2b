"""Palettization with tables made by a function of the user."""
