"""From tensors to tables: statistics of the trials, with intervals, tests and verdicts.

In come the shards of ``gradatlas.archive``. ``batch_size`` passes over the tensors of one batch
size and writes a row of statistics and a file of maps, which holds the statistics of each weight
and the scalars of each trial; ``tables`` gathers the rows of all. ``paired`` puts the scalars of
all batch sizes side by side for what compares them: ``norm_definitions``, ``laws``,
``noise_scale``, ``variance_sources`` and ``claims``, whose job writes all of these tables and the
page of verdicts. Start with ``batch_size``, then ``paired`` and ``claims``.

Shapes: T trials, C clusters of trials that are drawn independently of each other, B batch sizes.
Every interval and test is of a function of ``weights``, how often each trial counts, (..., T).
"""
