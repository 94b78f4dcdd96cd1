# cython: language_level=3, boundscheck=False, wraparound=False
"""Stochastic gradient descent over minibatches, written in Cython, with any loss of fastloss; without the GIL."""

cimport fastloss
from libc.stdint cimport int32_t, int64_t


cdef double epoch(const fastloss.fastloss_kernel *kernel, const double[:, ::1] X, const double[::1] y, double[::1] w,
                  double[::1] z, double step, int32_t *status) noexcept nogil:
    """Steps over all rows of X, as many at a time as z has entries; the sum of the losses before each step."""
    cdef int64_t start = 0, size, i, j
    cdef int64_t n = X.shape[0], p = X.shape[1], batch = z.shape[0]
    cdef double total = 0
    while start < n:
        size = min(batch, n - start)
        for i in range(size):
            z[i] = 0
            for j in range(p):
                z[i] += X[start + i, j] * w[j]
        # The gradient of the batch's mean takes the place of the predictions.
        total += fastloss.value_and_gradient_f64(kernel, size, &y[start], &z[0], 1.0 / size, &z[0], status)
        if status[0]:
            break
        for i in range(size):
            for j in range(p):
                w[j] -= step * z[i] * X[start + i, j]
        start += size
    return total


def train(loss, const double[:, ::1] X, const double[::1] y, double[::1] w, *,
          double step=0.1, int batch=64, int epochs=1):
    """Changes w; returns the mean loss of each epoch, as it was met on the way.

    loss: any loss of fastloss with one output, or one made by fastloss.custom_loss.
    """
    cdef const fastloss.fastloss_kernel *kernel = fastloss.kernel_of(loss)
    cdef int32_t status = 0
    cdef double total
    if kernel.outputs != 1:
        raise ValueError(f"loss must have one output, got {loss!r}")
    if y.shape[0] != X.shape[0] or w.shape[0] != X.shape[1]:
        raise ValueError("y must have an entry for each row of X, w one for each column")
    if X.shape[0] == 0 or X.shape[1] == 0 or batch < 1:
        raise ValueError("X must not be empty, and batch must be at least 1")
    import numpy as np
    cdef double[::1] z = np.empty(batch)
    losses = []
    for _ in range(epochs):
        with nogil:
            total = epoch(kernel, X, y, w, z, step, &status)
        if status:
            raise ValueError("a label or prediction is outside the domain of the loss")
        losses.append(total / X.shape[0])
    return losses
