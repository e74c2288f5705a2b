"""Magnitude pruning: the weights of the smallest magnitude become zero, at once or along a schedule."""
