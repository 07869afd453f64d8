"""From a data set to checkpoints.

In come two splits and the settings of training; out go a checkpoint in safetensors for each epoch
that is kept, with its digest, and a table of all epochs. Start with ``loop.train``.
"""
