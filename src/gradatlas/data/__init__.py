"""From the files of a data set to arrays.

In come IDX files, fetched by torchvision where they are not there; out goes a ``Split`` of
normalised inputs and labels. Start with ``idx.load_train``.
"""
