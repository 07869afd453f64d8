"""Tests of the gradient archive."""
