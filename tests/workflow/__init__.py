"""Tests of the whole workflow, run by Snakemake."""
