"""The fast engines: the reference's numbers without its memory traffic.

The weights of a trial's first layer are never formed. With c_t = learning rate / batch size, the
first layer after the samples s < t is W_0 - sum_s c_s d_s x_s', where d_s is the error
backpropagated to its output, so its pre-activation for sample j is

    a_j = (W_0 x_j + b_0) - sum_{s<t} c_s d_s (x_s . x_j + 1)          the + 1 is the bias

The first term is one matrix product for the whole data set; the second needs the Gram matrix of
the trial's own inputs and a block-triangular product. Both take the inputs relative to a centre
(``centre``): a pre-activation within rounding of 0 that takes the other side of the ReLU sends a
trial on another path, so they are kept as exact as the plain loop's at least.

Two implementations share this algorithm: ``mlp_cpu`` (CPU, NumPy and numba, no torch) and
``mlp_batched`` (any number of hidden layers, any device, torch, many trials at once).
"""
