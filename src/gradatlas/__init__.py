"""Gradient Atlas: how the stochastic gradient depends on batch size, every tensor kept."""
