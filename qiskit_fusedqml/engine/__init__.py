"""A program on a device as a differentiable function: values, gradients, states, second derivatives, in batches."""
