"""From a checkpoint to the gradients of trials.

In come a checkpoint, a training set and the record of the trials; out goes a shard with every
tensor. ``reference`` is the definition of a trial, slow and plain; ``engines`` compute the same
many times faster; ``shard`` is the job. Start with ``reference.run_trial``.
"""
