"""The pass over a dense X by rows at several points at once, for a model with one output: X is read once for all.

Knows no loss. Rows are cut into chunks by their number alone; a chunk goes in turns from X_b W' to the losses and the
gradients by the predictions, point by point, and adds R' X_b to sums of its own, which are added in the order of the
rows: results are the same to the last bit for any number of threads.
"""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t

from fastloss._arrays cimport address
from fastloss._reduce cimport BlockLoss, kernel_of
from fastloss._runtime cimport ProductOperations_f64, fastloss_kernel, resolve_threads, table

import numpy as np

cdef enum:
    MOST = 16  # points
    MOST_ROWS = 256  # a turn
    LEAST_ROWS = 32
    TURN_BYTES = 1 << 18  # of X: a part of the second cache
    CHUNKS = 64  # at most
    LEAST_CHUNK = 1024  # rows


cdef struct Pass:
    fastloss_kernel kernel
    int64_t n, p, k
    int64_t turn, chunk  # rows
    const double *x
    int64_t stride
    const double *packed  # the points' coefficients
    const double *intercept  # of each point
    const double *y
    const double *weight  # or NULL
    const double *offset  # or NULL
    int64_t kept  # points
    double *z  # their predictions, (kept, n)


cdef void run(const Pass *job, int64_t start, int64_t stop, double *losses, double *sums,
              int32_t *status) noexcept nogil:
    """Adds to a chunk's k losses and its sums of shape (k, p + 1)."""
    cdef const ProductOperations_f64 *product = &table().f64.product
    cdef double[MOST_ROWS * MOST] by_rows
    cdef double[MOST_ROWS * MOST] by_points
    cdef double *z
    cdef double residuals
    cdef int32_t found = 0
    cdef int64_t c, i, n, k = job.k
    while start < stop:
        n = min(stop - start, job.turn)
        product.multiply(job.x + start * job.stride, job.stride, n, job.p, job.packed, k, by_rows)
        product.transpose(n, k, by_rows, by_points)
        for c in range(k):
            z = by_points + c * n
            for i in range(n):
                z[i] += job.intercept[c]
            if job.offset != NULL:
                for i in range(n):
                    z[i] += job.offset[start + i]
            if c < job.kept:
                for i in range(n):
                    job.z[c * job.n + start + i] = z[i]
            losses[c] += job.kernel.f64(
                job.kernel.params, n, 1, job.y + start, z, job.weight + start if job.weight != NULL else NULL, 1, NULL,
                z, NULL, &found)
            residuals = 0
            for i in range(n):
                residuals += z[i]
            sums[c * (job.p + 1) + job.p] += residuals
        product.transpose(k, n, by_points, by_rows)
        product.add_transposed(
            job.x + start * job.stride, job.stride, n, 0, job.p, by_rows, k, k, sums, job.p + 1)
        start += n
    status[0] |= found


def most():
    """How many points a pass takes, at most; 0 where the instruction set in use has no products of its own."""
    return MOST if table().f64.product.multiply != NULL else 0


def losses_and_gradients(BlockLoss loss, X, W, b, y, weight, offset, z, n_threads):
    """Sums of the weighted losses at X W' + b + offset, for each point, and their gradients.

    Parameters
    ----------
    X : ndarray of shape (n, p), float64
        Rows are contiguous; all count.
    W, b : ndarray of shapes (k, p) and (k,), contiguous, float64
        k points, at most as many as `most` says.
    y, weight, offset : ndarray of shape (n,), contiguous, float64
        The last two may be None.
    z : ndarray of shape (m, n), contiguous, float64
        Takes the predictions of the first m points.
    n_threads : int or None
        As everywhere.

    Returns
    -------
    losses, gradients, status
        Of shapes (k,) and (k, p + 1); what the kernel found.
    """
    cdef Pass job
    cdef int32_t status = 0
    cdef int32_t[CHUNKS] statuses
    cdef int64_t i, chunks, k = len(W), lanes = table().f64.product.lanes
    cdef int threads
    job.kernel = kernel_of(loss, False)[0]
    job.n, job.p = X.shape
    job.k = k
    packed = np.empty((k + lanes - 1) // lanes * lanes * job.p)
    table().f64.product.pack(k, job.p, <const double *>address(W), <double *>address(packed))
    job.x, job.stride, job.packed = <const double *>address(X), X.strides[0] // 8, <const double *>address(packed)
    job.intercept, job.y = <const double *>address(b), <const double *>address(y)
    job.weight, job.offset = <const double *>address(weight), <const double *>address(offset)
    job.kept, job.z = len(z), <double *>address(z)
    job.turn = max(<int64_t>LEAST_ROWS, min(<int64_t>MOST_ROWS, TURN_BYTES // max(<int64_t>1, 8 * job.p) // 8 * 8))
    job.chunk = (max((job.n + CHUNKS - 1) // CHUNKS, <int64_t>LEAST_CHUNK) + job.turn - 1) // job.turn * job.turn
    chunks = (job.n + job.chunk - 1) // job.chunk
    losses, sums = np.zeros((chunks, k)), np.zeros((chunks, k, job.p + 1))
    cdef double *loss_ = <double *>address(losses)
    cdef double *sum_ = <double *>address(sums)
    threads = min(<int64_t>resolve_threads(n_threads), chunks)
    for i in prange(chunks, num_threads=threads, schedule="dynamic", nogil=True):
        statuses[i] = 0
        run(&job, i * job.chunk, min(job.n, (i + 1) * job.chunk), loss_ + i * k, sum_ + i * k * (job.p + 1),
            &statuses[i])
    for i in range(chunks):
        status |= statuses[i]
    return losses.sum(axis=0), sums.sum(axis=0), status
