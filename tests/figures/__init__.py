"""Tests of Gradient Atlas; they mirror the package."""
