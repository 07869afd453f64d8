"""From tables to figures and pages. Figures compute nothing: what they show stands in a table.

In come the CSV tables of ``gradatlas.statistics`` and ``steps.csv`` of ``gradatlas.collect``, and
the HDF5 files of the statistics, which hold single trials and single weights; out go SVG, PNG or
PDF files and two interactive HTML pages. Start with ``drawing``: it names every figure and the
function that draws it, in ``curves``, ``conclusions`` or ``single_trials``. All
look alike through ``style`` and ``house.mplstyle``; what they read comes through ``inputs``.
``pages`` stands alone.
"""
