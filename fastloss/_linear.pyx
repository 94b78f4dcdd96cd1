"""The fused pass over X: X is read once for the loss and its gradient. Knows no loss, only block kernels.

Rows are cut into chunks by their number alone; a chunk runs through blocks of rows that stay in cache between the two
products, X_b w before the kernel and X_b' r after it, and adds to a gradient of its own. The chunks' gradients are
added in order, so that results are the same to the last bit for any number of threads.
"""

from cpython.buffer cimport PyBuffer_Release
from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free

from fastloss._arrays cimport FLOAT32, FLOAT64, Array, view
from fastloss._reduce cimport BlockLoss, kernel_of
from fastloss._runtime cimport fastloss_kernel, resolve_threads, table

import numpy as np

cdef enum:
    MAX_CHUNKS = 64  # bounds the memory of their gradients
    SMALLEST_CHUNK = 64  # rows: the chunks' gradients are then at most 1/64 of X
    MAX_ROWS = 512  # rows a block, at most
    BLOCK_BYTES = 32 << 10  # of X in a block: in a near cache between the two products (128 KiB: 1.2 times slower)
    SERIAL = 1 << 15  # up to so many numbers in X, starting threads costs more than it saves


cdef struct Pass:
    fastloss_kernel kernel
    bint single
    bint gradient  # wanted?
    int64_t n, p
    int64_t rows  # a block
    int64_t chunk, chunks
    int threads
    const char *x
    int64_t stride  # from row to row, in numbers
    const char *y
    const char *weight  # or NULL
    const char *offset  # or NULL
    const char *w
    double intercept
    char *z  # the predictions, if wanted, or NULL
    char *residual  # the gradient with respect to them, or NULL


cdef inline void linear_f32(const Pass *job, int64_t start, int64_t n, float *z) noexcept nogil:
    cdef int64_t i
    cdef const float *offset = <const float *>job.offset
    for i in range(n):
        z[i] = <float>job.intercept + (offset[start + i] if offset != NULL else 0)
    table().f32.dot_rows(
        <const float *>job.x + start * job.stride, job.stride, n, job.p, <const float *>job.w, z)


cdef inline void linear_f64(const Pass *job, int64_t start, int64_t n, double *z) noexcept nogil:
    cdef int64_t i
    cdef const double *offset = <const double *>job.offset
    for i in range(n):
        z[i] = job.intercept + (offset[start + i] if offset != NULL else 0)
    table().f64.dot_rows(
        <const double *>job.x + start * job.stride, job.stride, n, job.p, <const double *>job.w, z)


cdef inline bint is_zero(const Pass *job, int64_t i) noexcept nogil:
    """Whether the weight of row i is 0."""
    if job.weight == NULL:
        return False
    return (<const float *>job.weight)[i] == 0 if job.single else (<const double *>job.weight)[i] == 0


cdef bint next_rows(const Pass *job, int64_t *start, int64_t stop, int64_t *n) noexcept nogil:
    """The next rows to go through together, from start[0] on; rows of weight 0 are not even read. False at the end."""
    cdef int64_t i
    while start[0] < stop and is_zero(job, start[0]):
        start[0] += 1
    if start[0] >= stop:
        return False
    n[0] = min(stop - start[0], job.rows)
    if job.weight != NULL:
        for i in range(1, n[0]):
            if is_zero(job, start[0] + i):
                n[0] = i
                break
    return True


cdef double pass_chunk(const Pass *job, int64_t start, int64_t stop, double *gradient, int32_t *status) noexcept nogil:
    """Loss of a chunk; adds X' r and the sum of r to gradient[:p] and gradient[p]."""
    cdef double[MAX_ROWS] z
    cdef double[MAX_ROWS] residual
    cdef double *r = NULL
    cdef float *z32 = <float *>z
    cdef float *r32
    cdef double sum = 0
    cdef int32_t found = 0  # not status itself: the chunks of other threads lie in the same cache line
    cdef int64_t n, i
    if job.gradient:
        r = <double *>residual
    r32 = <float *>r
    while next_rows(job, &start, stop, &n):
        if job.single:
            linear_f32(job, start, n, z32)
            sum += job.kernel.f32(
                job.kernel.params, n, 1, <const float *>job.y + start, z32,
                <const float *>job.weight + start if job.weight != NULL else NULL, 1, NULL,
                r32, NULL, &found)
            if job.gradient:
                table().f32.add_rows(
                    <const float *>job.x + start * job.stride, job.stride, n, job.p, r32, gradient)
                for i in range(n):
                    gradient[job.p] += r32[i]
        else:
            linear_f64(job, start, n, z)
            sum += job.kernel.f64(
                job.kernel.params, n, 1, <const double *>job.y + start, z,
                <const double *>job.weight + start if job.weight != NULL else NULL, 1, NULL,
                r, NULL, &found)
            if job.gradient:
                table().f64.add_rows(
                    <const double *>job.x + start * job.stride, job.stride, n, job.p, r, gradient)
                for i in range(n):
                    gradient[job.p] += r[i]
        start += n
    status[0] |= found
    return sum


cdef double predict_chunk(const Pass *job, int64_t start, int64_t stop, double *gradient,
                          int32_t *status) noexcept nogil:
    """Writes the chunk's predictions."""
    if job.single:
        linear_f32(job, start, stop - start, <float *>job.z + start)
    else:
        linear_f64(job, start, stop - start, <double *>job.z + start)
    return 0


cdef double transposed_chunk(const Pass *job, int64_t start, int64_t stop, double *gradient,
                             int32_t *status) noexcept nogil:
    """Adds X' r of the chunk."""
    cdef int64_t n
    while next_rows(job, &start, stop, &n):
        if job.single:
            table().f32.add_rows(<const float *>job.x + start * job.stride, job.stride, n, job.p,
                                 <const float *>job.residual + start, gradient)
        else:
            table().f64.add_rows(<const double *>job.x + start * job.stride, job.stride, n, job.p,
                                 <const double *>job.residual + start, gradient)
        start += n
    return 0


ctypedef double (*ChunkRunner)(
    const Pass *job, int64_t start, int64_t stop, double *gradient, int32_t *status) noexcept nogil


cdef double run(const Pass *job, ChunkRunner runner, double *gradients, int32_t *status) noexcept nogil:
    """All chunks, over threads. `gradients` has p + 1 zeros for each chunk; the first p + 1 take their sum."""
    cdef double[MAX_CHUNKS] sums
    cdef int32_t[MAX_CHUNKS] statuses
    cdef int64_t i, j
    cdef int64_t width = job.p + 1 if job.gradient else 0
    cdef double sum = 0
    if job.threads > 1:
        for i in prange(job.chunks, num_threads=job.threads, schedule="dynamic"):
            statuses[i] = 0
            sums[i] = runner(
                job, i * job.chunk, min(job.n, (i + 1) * job.chunk), gradients + i * width, &statuses[i])
    else:
        for i in range(job.chunks):
            statuses[i] = 0
            sums[i] = runner(
                job, i * job.chunk, min(job.n, (i + 1) * job.chunk), gradients + i * width, &statuses[i])
    for i in range(job.chunks):
        sum += sums[i]
        status[0] |= statuses[i]
        if i > 0:
            for j in range(width):
                gradients[j] += gradients[i * width + j]
    return sum


cdef class DenseRows:
    """A dense matrix with contiguous rows, float32 or float64; never copied.

    Vectors that are handed in are contiguous and of the matrix's dtype: `LinearObjective` sees to it.
    """
    cdef Py_buffer buffer
    cdef bint held
    cdef Pass layout
    cdef readonly tuple shape
    cdef readonly object dtype

    def __cinit__(self, x):
        cdef Array array
        if not view(x, &self.buffer, &array):
            raise TypeError(f"X must be of dtype float32 or float64, got {x.dtype}")
        self.held = True
        if array.dtype != FLOAT32 and array.dtype != FLOAT64:
            raise TypeError(f"X must be of dtype float32 or float64, got {x.dtype}")
        cdef Py_ssize_t itemsize = 4 if array.dtype == FLOAT32 else 8
        cdef int64_t n = array.shape[0], p = array.shape[1]
        if (p > 1 and array.strides[1] != itemsize) or array.strides[0] % itemsize or <Py_ssize_t>array.data % itemsize:
            raise ValueError("X must have contiguous rows (C order); numpy.ascontiguousarray(X) makes such a copy")
        self.shape = (n, p)
        self.dtype = np.dtype(np.float32 if array.dtype == FLOAT32 else np.float64)
        self.layout.single = array.dtype == FLOAT32
        self.layout.n = n
        self.layout.p = p
        self.layout.x = array.data
        self.layout.stride = array.strides[0] // itemsize
        self.layout.rows = min(<int64_t>MAX_ROWS, max(<int64_t>8, BLOCK_BYTES // max(1, p * itemsize) // 8 * 8))
        self.layout.chunk = max(<int64_t>SMALLEST_CHUNK, (n + MAX_CHUNKS - 1) // MAX_CHUNKS)
        self.layout.chunk = (self.layout.chunk + 7) // 8 * 8
        self.layout.chunks = (n + self.layout.chunk - 1) // self.layout.chunk

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.buffer)

    cdef Pass job(self, n_threads) except *:
        cdef Pass job = self.layout
        cdef int threads = resolve_threads(n_threads)
        job.threads = 1 if job.n * job.p <= SERIAL else <int>min(<int64_t>threads, job.chunks)
        return job

    def loss_and_gradient(self, BlockLoss loss, y, weight, offset, w, double intercept, bint gradient, n_threads):
        """Sum of the weighted losses at X w + intercept + offset; with its gradient, p + 1 numbers, if asked for.

        Returns (sum, gradient or None, status of the kernel).
        """
        cdef Pass job = self.job(n_threads)
        cdef int32_t status = 0
        cdef double sum
        cdef double *gradients = NULL
        job.kernel = kernel_of(loss)[0]
        job.gradient = gradient
        job.y = address(y)
        job.weight = address(weight)
        job.offset = address(offset)
        job.w = address(w)
        job.intercept = intercept
        if gradient:
            gradients = new_gradients(&job)
        with nogil:
            sum = run(&job, pass_chunk, gradients, &status)
        return sum, take_gradient(&job, gradients) if gradient else None, status

    def predict(self, w, double intercept, offset, z, n_threads):
        """Write X w + intercept + offset to z."""
        cdef Pass job = self.job(n_threads)
        cdef int32_t status = 0
        job.gradient = False
        job.offset = address(offset)
        job.w = address(w)
        job.intercept = intercept
        job.z = address(z)
        with nogil:
            run(&job, predict_chunk, NULL, &status)

    def transposed_product(self, r, weight, n_threads):
        """X' r, p numbers, over the rows whose weight is not 0."""
        cdef Pass job = self.job(n_threads)
        cdef int32_t status = 0
        job.gradient = True
        job.residual = address(r)
        job.weight = address(weight)
        cdef double *gradients = new_gradients(&job)
        with nogil:
            run(&job, transposed_chunk, gradients, &status)
        return take_gradient(&job, gradients)[:job.p]


cdef char *address(x) except? NULL:
    """Where the array's numbers are; NULL for None."""
    if x is None:
        return NULL
    return <char *><size_t>x.ctypes.data


cdef double *new_gradients(const Pass *job) except NULL:
    cdef double *gradients = <double *>calloc(job.chunks * (job.p + 1), sizeof(double))
    if gradients == NULL:
        raise MemoryError()
    return gradients


cdef take_gradient(const Pass *job, double *gradients):
    """The sum of the chunks' gradients as an array; frees them."""
    result = np.empty(job.p + 1)
    cdef double[::1] view_of_result = result
    cdef int64_t j
    for j in range(job.p + 1):
        view_of_result[j] = gradients[j]
    free(gradients)
    return result
