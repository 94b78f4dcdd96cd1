"""The passes over X, in any layout. Knows no loss, only block kernels.

By rows (C order, CSR, narrow Fortran order) X is read once for the loss and its gradient: rows are cut into chunks by
their number alone; a chunk runs through blocks of rows that stay in cache between the two products, X_b w before the
kernel and X_b' r after it, and adds to a gradient of its own. The chunks' gradients are added in order, so that results
are the same to the last bit for any number of threads. By columns (CSC, wide Fortran order) a pass is X w, which reads
only the columns whose coefficient is not 0, the loss, and X' r, one sum a column.
"""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fastloss._arrays cimport address
from fastloss._reduce cimport BlockLoss, kernel_of
from fastloss._runtime cimport (
    Matrix, MatrixOperations_f32, MatrixOperations_f64, csc32, csc64, csr32, csr64, dense_columns, dense_rows,
    fastloss_kernel, resolve_threads, table)

import numpy as np

cdef enum:
    MAX_CHUNKS = 64  # bounds the memory of their gradients
    SMALLEST_CHUNK = 64  # rows: the chunks' gradients are then at most 1/64 of a dense X
    MAX_ROWS = 512  # rows a block, at most
    BLOCK_BYTES = 8 << 10  # of X in a block: in the nearest cache between the two products, beside what comes next
    PIECE_BYTES = 256 << 10  # the same in Fortran order, where a row more costs less than a column's start
    LEAST_PIECE = 64  # rows: shorter pieces of columns are not worth their start
    SERIAL = 1 << 17  # up to so many numbers in X, starting threads costs more than it saves
    MAX_SUMS = 8  # of predictions by columns at once


cdef struct Pass:
    fastloss_kernel kernel
    Matrix matrix
    int layout
    bint single
    bint gradient  # wanted?
    int64_t n, p
    int64_t rows  # a block
    int64_t chunk, chunks
    int threads
    const char *y
    const char *weight  # or NULL
    const char *offset  # or NULL
    const char *w
    double intercept
    char *z  # the predictions, if wanted, or NULL
    char *residual  # the gradient with respect to them, or NULL


cdef inline const MatrixOperations_f32 *operations_f32(const Pass *job) noexcept nogil:
    return &table().f32.matrix[job.layout]


cdef inline const MatrixOperations_f64 *operations_f64(const Pass *job) noexcept nogil:
    return &table().f64.matrix[job.layout]


cdef inline void linear_f32(const Pass *job, int64_t start, int64_t n, float *z) noexcept nogil:
    cdef int64_t i
    cdef const float *offset = <const float *>job.offset
    for i in range(n):
        z[i] = <float>job.intercept + (offset[start + i] if offset != NULL else 0)
    operations_f32(job).dot_rows(&job.matrix, start, n, <const float *>job.w, z)


cdef inline void linear_f64(const Pass *job, int64_t start, int64_t n, double *z) noexcept nogil:
    cdef int64_t i
    cdef const double *offset = <const double *>job.offset
    for i in range(n):
        z[i] = job.intercept + (offset[start + i] if offset != NULL else 0)
    operations_f64(job).dot_rows(&job.matrix, start, n, <const double *>job.w, z)


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
    cdef double residuals = 0
    cdef int32_t found = 0  # not status itself: the chunks of other threads lie in the same cache line
    cdef int64_t n, i
    if job.gradient:
        r = <double *>residual
    r32 = <float *>r
    while next_rows(job, &start, stop, &n):
        if job.single:
            linear_f32(job, start, n, z32)
            if job.z != NULL:
                memcpy(<float *>job.z + start, z32, n * sizeof(float))
            sum += job.kernel.f32(
                job.kernel.params, n, 1, <const float *>job.y + start, z32,
                <const float *>job.weight + start if job.weight != NULL else NULL, 1, NULL,
                r32, NULL, &found)
            if job.gradient:
                operations_f32(job).add_rows(&job.matrix, start, n, r32, gradient)
                for i in range(n):
                    residuals += r32[i]
        else:
            linear_f64(job, start, n, z)
            if job.z != NULL:
                memcpy(<double *>job.z + start, z, n * sizeof(double))
            sum += job.kernel.f64(
                job.kernel.params, n, 1, <const double *>job.y + start, z,
                <const double *>job.weight + start if job.weight != NULL else NULL, 1, NULL,
                r, NULL, &found)
            if job.gradient:
                operations_f64(job).add_rows(&job.matrix, start, n, r, gradient)
                for i in range(n):
                    residuals += r[i]
        start += n
    if job.gradient:
        gradient[job.p] += residuals
    status[0] |= found
    return sum


cdef double predict_chunk(const Pass *job, int64_t start, int64_t stop, double *gradient,
                          int32_t *status) noexcept nogil:
    """Writes the chunk's predictions, in blocks that stay in cache where the layout goes through them again."""
    cdef int64_t n
    while start < stop:
        n = min(stop - start, <int64_t>MAX_ROWS)
        if job.single:
            linear_f32(job, start, n, <float *>job.z + start)
        else:
            linear_f64(job, start, n, <double *>job.z + start)
        start += n
    return 0


cdef double transposed_chunk(const Pass *job, int64_t start, int64_t stop, double *gradient,
                             int32_t *status) noexcept nogil:
    """Adds X' r of the chunk."""
    cdef int64_t n
    while next_rows(job, &start, stop, &n):
        if job.single:
            operations_f32(job).add_rows(&job.matrix, start, n, <const float *>job.residual + start, gradient)
        else:
            operations_f64(job).add_rows(&job.matrix, start, n, <const double *>job.residual + start, gradient)
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


cdef void dot_columns(const Pass *job, int64_t start, int64_t stop, double *out) noexcept nogil:
    if job.single:
        operations_f32(job).dot_columns(&job.matrix, start, stop, <const float *>job.residual, out)
    else:
        operations_f64(job).dot_columns(&job.matrix, start, stop, <const double *>job.residual, out)


cdef void add_columns(const Pass *job, int64_t start, int64_t stop, double *z) noexcept nogil:
    if job.single:
        operations_f32(job).add_columns(&job.matrix, start, stop, <const float *>job.w, z)
    else:
        operations_f64(job).add_columns(&job.matrix, start, stop, <const double *>job.w, z)


cdef class Design:
    """X in any layout that the passes know; never copied.

    Vectors that are handed in are contiguous and of the matrix's dtype: `LinearObjective` sees to it.

    Parameters
    ----------
    layout : {"dense_rows", "dense_columns", "csr", "csc"}
    data, indices, starts, stride
        As in ``simd/matrix.hpp``, arrays that are checked: see ``fastloss._design``.
    shape : tuple of two ints
    """
    cdef Pass layout
    cdef readonly tuple held  # data, indices, starts: what the pointers point into
    cdef readonly tuple shape
    cdef readonly object dtype
    cdef readonly str name
    cdef readonly bint by_rows  # whether a pass reads X once
    cdef int64_t numbers  # that are stored
    cdef int64_t sums  # of predictions by columns

    def __init__(self, str layout, data, indices, starts, int64_t stride, tuple shape):
        self.held = (data, indices, starts)
        self.shape = shape
        self.dtype = data.dtype
        self.name = layout
        cdef Pass *job = &self.layout
        cdef int64_t itemsize = data.dtype.itemsize
        job.single = itemsize == 4
        job.n, job.p = shape
        job.matrix.n, job.matrix.p = shape
        job.matrix.data = address(data)
        job.matrix.indices = address(indices)
        job.matrix.starts = <const int64_t *>address(starts)
        job.matrix.stride = stride
        cdef bint wide_indices = indices is not None and indices.dtype.itemsize == 8
        self.numbers = job.n * job.p if indices is None else len(indices)
        if layout == "dense_rows":
            job.layout = dense_rows
            job.rows = BLOCK_BYTES // max(1, job.p * itemsize) // 8 * 8
        elif layout == "dense_columns":
            job.layout = dense_columns
            job.rows = PIECE_BYTES // max(1, job.p * itemsize) // 8 * 8
        elif layout == "csr":
            job.layout = csr64 if wide_indices else csr32
            job.rows = BLOCK_BYTES * job.n // max(1, self.numbers * (itemsize + indices.dtype.itemsize)) // 8 * 8
        else:
            job.layout = csc64 if wide_indices else csc32
            job.rows = MAX_ROWS
        self.by_rows = layout != "csc" and not (layout == "dense_columns" and job.rows < LEAST_PIECE)
        job.rows = min(<int64_t>MAX_ROWS, max(<int64_t>8, job.rows))
        # The chunks' gradients take a fraction of X's memory, and their sum of its time.
        job.chunk = max((job.n + MAX_CHUNKS - 1) // MAX_CHUNKS, 4 * job.n * job.p // max(1, self.numbers))
        job.chunk = (max(job.chunk, <int64_t>SMALLEST_CHUNK) + 7) // 8 * 8
        job.chunks = (job.n + job.chunk - 1) // job.chunk
        self.sums = max(1, min(<int64_t>MAX_SUMS, self.numbers // max(1, 4 * job.n)))

    cdef Pass job(self, n_threads) except *:
        cdef Pass job = self.layout
        job.threads = 1 if self.numbers <= SERIAL else resolve_threads(n_threads)
        return job

    def loss_and_gradient(self, BlockLoss loss, y, weight, offset, w, double intercept, bint gradient, n_threads,
                          z=None):
        """Sum of the weighted losses at X w + intercept + offset; with its gradient, p + 1 numbers, if asked for.

        In one pass; only for layouts that go by rows. Returns (sum, gradient or None, status of the kernel); writes the
        predictions to z, where there is one, but those of rows of weight 0.
        """
        cdef Pass job = self.job(n_threads)
        cdef int32_t status = 0
        cdef double sum
        cdef double *gradients = NULL
        job.kernel = kernel_of(loss, job.single)[0]
        job.gradient = gradient
        job.y = address(y)
        job.weight = address(weight)
        job.offset = address(offset)
        job.w = address(w)
        job.intercept = intercept
        job.z = address(z)
        if gradient:
            gradients = new_gradients(&job)
        with nogil:
            sum = run(&job, pass_chunk, gradients, &status)
        return sum, take_gradient(&job, gradients) if gradient else None, status

    def predict(self, w, double intercept, offset, z, n_threads):
        """Write X w + intercept + offset to z."""
        if self.name == "csc":
            self.predict_by_columns(w, intercept, offset, z, n_threads)
            return
        cdef Pass job = self.job(n_threads)
        cdef int32_t status = 0
        job.gradient = False
        job.offset = address(offset)
        job.w = address(w)
        job.intercept = intercept
        job.z = address(z)
        with nogil:
            run(&job, predict_chunk, NULL, &status)

    cdef predict_by_columns(self, w, double intercept, offset, z, n_threads):
        cdef Pass job = self.job(n_threads)
        cdef int64_t i, columns = (job.p + self.sums - 1) // self.sums
        parts = np.zeros((self.sums, job.n))
        cdef double *sums = <double *>address(parts)
        job.w = address(w)
        if job.threads > 1:
            for i in prange(self.sums, num_threads=job.threads, schedule="dynamic", nogil=True):
                add_columns(&job, i * columns, min(job.p, (i + 1) * columns), sums + i * job.n)
        else:
            for i in range(self.sums):
                add_columns(&job, i * columns, min(job.p, (i + 1) * columns), sums + i * job.n)
        total = parts.sum(axis=0) if self.sums > 1 else parts[0]
        total += intercept
        if offset is not None:
            total += offset
        z[:] = total

    def transposed_product(self, r, weight, n_threads):
        """X' r, p numbers, over the rows whose weight is not 0; r is 0 in the others."""
        cdef Pass job = self.job(n_threads)
        cdef int32_t status = 0
        cdef int64_t i, columns
        cdef double *gradients
        job.residual = address(r)
        if self.by_rows:
            job.gradient = True
            job.weight = address(weight)
            gradients = new_gradients(&job)
            with nogil:
                run(&job, transposed_chunk, gradients, &status)
            return take_gradient(&job, gradients)[:job.p]
        result = np.empty(job.p)
        gradients = <double *>address(result)
        columns = max(<int64_t>1, min((job.p + 63) // 64, <int64_t>SERIAL * job.p // max(1, self.numbers)))
        if job.threads > 1:
            for i in prange((job.p + columns - 1) // columns, num_threads=job.threads, schedule="dynamic", nogil=True):
                dot_columns(&job, i * columns, min(job.p, (i + 1) * columns), gradients)
        else:
            with nogil:
                dot_columns(&job, 0, job.p, gradients)
        return result

    def columns_in_place(self):
        """X, if its columns are contiguous doubles; else None."""
        return self.held[0] if self.name == "dense_columns" and self.held[0].dtype == np.float64 else None

    def take_columns(self, selected, weight):
        """A copy of some columns in float64; rows whose weight is 0 are empty there, whatever X holds.

        Parameters
        ----------
        selected : ndarray of int64
            Their indices, increasing.
        weight : ndarray of shape (n,) of X's dtype, or None

        Returns
        -------
        data, indices, starts
            Dense: shape (n, m) in Fortran order, None, None. Compressed: CSC, rows in increasing order.
        """
        cdef Pass job = self.layout
        cdef const int64_t *columns = <const int64_t *>address(selected)
        cdef int64_t i, j, k, count = len(selected), total = 0, stored
        cdef double *out
        cdef int32_t *rows
        cdef int32_t *place
        cdef int64_t *begins
        job.weight = address(weight)
        if self.name in ("dense_rows", "dense_columns"):
            data = np.empty((job.n, count), order="F")
            out = <double *>address(data)
            with nogil:
                if job.layout == dense_columns:
                    for k in range(count):
                        for i in range(job.n):
                            out[k * job.n + i] = number(&job, columns[k] * job.matrix.stride + i)
                else:
                    for i in range(job.n):
                        for k in range(count):
                            out[k * job.n + i] = number(&job, i * job.matrix.stride + columns[k])
                if job.weight != NULL:
                    for i in range(job.n):
                        if is_zero(&job, i):
                            for k in range(count):
                                out[k * job.n + i] = 0
            return data, None, None
        starts = np.zeros(count + 1, dtype=np.int64)
        begins = <int64_t *>address(starts)
        if self.name == "csc":
            begin = self.held[2][selected]
            starts[1:] = np.cumsum(self.held[2][selected + 1] - begin)
            data, indices = np.empty(starts[count]), np.empty(starts[count], dtype=np.int32)
            out, rows = <double *>address(data), <int32_t *>address(indices)
            with nogil:
                for k in range(count):
                    total = job.matrix.starts[columns[k]] - begins[k]
                    for i in range(begins[k], begins[k + 1]):
                        out[i] = number(&job, total + i)
                        rows[i] = <int32_t>line(&job, total + i)
        else:  # which of the columns each is, from 1 on; then one pass counts and one fills
            places = np.zeros(job.p, dtype=np.int32)
            places[selected] = np.arange(1, count + 1)
            place = <int32_t *>address(places)
            with nogil:
                for i in range(self.numbers):
                    k = place[line(&job, i)]
                    if k > 0:
                        begins[k] += 1
                for k in range(count):
                    begins[k + 1] += begins[k]
            data, indices = np.empty(starts[count]), np.empty(starts[count], dtype=np.int32)
            out, rows = <double *>address(data), <int32_t *>address(indices)
            fill = starts.copy()
            begins = <int64_t *>address(fill)
            with nogil:
                for i in range(job.n):
                    for j in range(job.matrix.starts[i], job.matrix.starts[i + 1]):
                        k = place[line(&job, j)]
                        if k > 0:
                            out[begins[k - 1]] = number(&job, j)
                            rows[begins[k - 1]] = <int32_t>i
                            begins[k - 1] += 1
        stored = len(data)
        if job.weight != NULL:
            with nogil:
                for i in range(stored):
                    if is_zero(&job, rows[i]):
                        out[i] = 0
        return data, indices, starts


cdef inline double number(const Pass *job, int64_t i) noexcept nogil:
    return (<const float *>job.matrix.data)[i] if job.single else (<const double *>job.matrix.data)[i]


cdef inline int64_t line(const Pass *job, int64_t i) noexcept nogil:
    """The index of the stored number i."""
    if job.layout == csr64 or job.layout == csc64:
        return (<const int64_t *>job.matrix.indices)[i]
    return (<const int32_t *>job.matrix.indices)[i]


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
