"""The networks whose gradients are measured.

In come the shape of a sample and the units of each hidden layer; out go parameters by name, with
initial values that depend on the seed alone, and the forward pass. Start with ``perceptron``.
"""
