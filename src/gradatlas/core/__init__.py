"""What every stage needs and none owns: settings, random numbers, files, errors.

In comes ``config.yaml``; out go frozen dataclasses (``settings``, ``configuration``), random
streams that depend on a seed and a number alone (``random``), files that are whole or not there
(``files``), and errors as sentences (``errors``, ``job_log``). Start with ``settings``: it says
what each word means.
"""
