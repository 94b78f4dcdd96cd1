"""The pass over a dense X by rows for a model with many outputs: blocks of logits, their loss, R' (X_b, 1).

Knows no loss. Threads stay together for a whole pass. A block's rows are shared out in turns, each of which goes from
X_b W' to the loss and its gradient in the place of the logits; once all are done the columns of R' X_b are. Every
number is summed by one thread and in the order of the rows, so that results are the same to the last bit for any number
of threads.
"""

from cython.parallel cimport parallel
from libc.stdint cimport int32_t, int64_t

from fastloss._arrays cimport FLOAT32, FLOAT64, Array, address, load, view
from fastloss._reduce cimport BlockLoss, kernel_of
from fastloss._runtime cimport fastloss_kernel, resolve_threads, table

from cpython.buffer cimport PyBuffer_Release

import numpy as np

cdef extern from *:
    """
    #include <atomic>
    #include <chrono>
    #include <thread>
    #ifdef _OPENMP
    #include <omp.h>
    #endif

    // The threads of a pass: tasks are numbered through all phases, and a thread waits at the end of a phase. By
    // turning, not by sleeping: a phase is over in a millisecond, and to wake a thread takes a tenth of that, or more.
    // One that waits for as long sleeps: another process has the core of the thread that it waits for.
    struct Team {
        std::atomic<int64_t> tasks{0}, arrived{0}, phase{0};

        int64_t next() { return tasks.fetch_add(1, std::memory_order_relaxed); }

        void wait() {
    #ifdef _OPENMP
            const int64_t size = omp_get_num_threads();
    #else
            const int64_t size = 1;
    #endif
            const int64_t now = phase.load(std::memory_order_acquire);
            if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
                arrived.store(0, std::memory_order_relaxed);
                phase.store(now + 1, std::memory_order_release);
                return;
            }
            for (int64_t turns = 1; phase.load(std::memory_order_acquire) == now; ++turns)
                if (turns > 200000)
                    std::this_thread::sleep_for(std::chrono::microseconds(50));
                else if (turns % 1000 == 0)
                    std::this_thread::yield();
        }
    };
    """
    cppclass Team:
        int64_t next() noexcept nogil
        void wait() noexcept nogil

cdef enum:
    SERIAL = 1 << 19  # products of two numbers: up to so many, starting threads costs more than it saves
    MOST_ROWS = 512  # a turn
    LEAST_ROWS = 32
    TURN_PRODUCTS = 1 << 21  # more or less, of a turn: 40 us
    # Of a panel of columns, for a thread at a time: the panel is copied for each part. Few columns: smaller parts.
    MOST_OUTPUTS = 128
    LEAST_OUTPUTS = 32
    TASKS = 4  # for each thread, if there are enough outputs


cdef struct Pass:
    fastloss_kernel kernel
    bint single
    bint gradient  # wanted?
    int64_t n, p, k
    const char *x
    int64_t stride  # numbers from row to row
    const char *packed  # W
    const char *bias  # or NULL
    const char *weight  # or NULL
    const char *offset  # or NULL
    Array y
    int64_t label_width
    int64_t block, turn, panel, part  # rows, rows, columns, outputs
    char *z  # of a block
    double *losses  # of each turn
    int32_t *statuses
    double *sums  # (k, p + 1)
    double *residuals  # k


cdef void run_turn(const Pass *job, int64_t block, int64_t start, int64_t n) noexcept nogil:
    """From X to the gradient with respect to the logits, for some rows of the block that begins at `block`."""
    cdef double[MOST_ROWS] scratch
    cdef int64_t size = 4 if job.single else 8, k = job.k
    cdef char *z = job.z + (start - block) * k * size
    cdef const char *x = job.x + start * job.stride * size
    cdef const char *weight = NULL
    cdef const char *offset = NULL
    cdef const void *y = load(&job.y, job.single, start * job.label_width, n * job.label_width, scratch)
    cdef double loss
    cdef int32_t *status = &job.statuses[start // job.turn]
    if job.weight != NULL:
        weight = job.weight + start * size
    if job.offset != NULL:
        offset = job.offset + start * k * size
    if job.single:
        table().f32.product.multiply(<const float *>x, job.stride, n, job.p, <const float *>job.packed, k, <float *>z)
        shift[float](n, k, <const float *>job.bias, <const float *>offset, <float *>z)
        loss = job.kernel.f32(
            job.kernel.params, n, k, <const float *>y, <const float *>z, <const float *>weight, 1, NULL,
            <float *>z if job.gradient else NULL, NULL, status)
    else:
        table().f64.product.multiply(
            <const double *>x, job.stride, n, job.p, <const double *>job.packed, k, <double *>z)
        shift[double](n, k, <const double *>job.bias, <const double *>offset, <double *>z)
        loss = job.kernel.f64(
            job.kernel.params, n, k, <const double *>y, <const double *>z, <const double *>weight, 1, NULL,
            <double *>z if job.gradient else NULL, NULL, status)
    job.losses[start // job.turn] = loss


ctypedef fused real:
    float
    double


cdef void shift(int64_t n, int64_t k, const real *bias, const real *offset, real *z) noexcept nogil:
    cdef int64_t i, c
    if bias != NULL:
        for i in range(n):
            for c in range(k):
                z[i * k + c] += bias[c]
    if offset != NULL:
        for i in range(n * k):
            z[i] += offset[i]


cdef void add_up(const Pass *job, int64_t block, int64_t n, int64_t task) noexcept nogil:
    """A part of R' (X_b, 1): some columns of X and some outputs; the last task is the column of ones."""
    cdef int64_t size = 4 if job.single else 8, k = job.k, width = job.p + 1
    cdef int64_t parts = (k + job.part - 1) // job.part
    cdef int64_t start = task // parts * job.panel, stop = min(job.p, start + job.panel), c = task % parts * job.part, i
    cdef const char *x = job.x + block * job.stride * size
    cdef double *sums = job.sums + c * width
    if start >= job.p:
        for i in range(n):
            for c in range(k):
                job.residuals[c] += (<const float *>job.z)[i * k + c] if job.single else (
                    <const double *>job.z)[i * k + c]
    elif job.single:
        table().f32.product.add_transposed(
            <const float *>x, job.stride, n, start, stop, <const float *>job.z + c, k, min(job.part, k - c),
            sums, width)
    else:
        table().f64.product.add_transposed(
            <const double *>x, job.stride, n, start, stop, <const double *>job.z + c, k, min(job.part, k - c),
            sums, width)


cdef int64_t tasks_of(const Pass *job) noexcept nogil:
    """How many parts R' (X_b, 1) has: see add_up."""
    return (job.p + job.panel - 1) // job.panel * ((job.k + job.part - 1) // job.part) + 1


cdef void run(const Pass *job, Team *team) noexcept nogil:
    """What each thread does."""
    cdef int64_t block = 0, n, task, done = 0, turns
    cdef int64_t tasks = tasks_of(job)
    task = team.next()
    while block < job.n:
        n = min(job.block, job.n - block)
        turns = (n + job.turn - 1) // job.turn
        while task < done + turns:
            run_turn(job, block, block + (task - done) * job.turn, min(job.turn, n - (task - done) * job.turn))
            task = team.next()
        done += turns
        team.wait()
        if job.gradient:
            while task < done + tasks:
                add_up(job, block, n, task - done)
                task = team.next()
            done += tasks
            team.wait()
        block += n


def are_here():
    """Whether the instruction set in use has what a pass takes."""
    return table().f64.product.multiply != NULL


def loss_and_gradient(BlockLoss loss, X, W, b, labels, weight, offset, bint gradient, int64_t block, n_threads):
    """Sum of the weighted losses at X W' + b + offset; with its gradient if asked for.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        Rows are contiguous, and further apart than they are long; all count.
    W, b, weight, offset : ndarray of X's dtype, contiguous
        Of shapes (K, p), (K,), (n,) and (n, K), the last three may be None.
    labels : ndarray of shape (n,) and any real dtype, or (n, K) in X's dtype and C order
    block : int
        Rows whose logits exist at a time, more or less.

    Returns
    -------
    sum, gradient, status
        The gradient is of shape (K, p + 1), or None; the status is what the kernel found.
    """
    cdef Pass job
    cdef Py_buffer buffer
    cdef Team team
    cdef int64_t i, products
    cdef int threads
    cdef int32_t status = 0
    cdef double total = 0
    job.single = X.dtype.itemsize == 4
    job.gradient = gradient
    job.n, job.p = X.shape
    job.k = len(W)
    if job.n == 0 or job.k == 0:
        return 0.0, np.zeros((job.k, job.p + 1)) if gradient else None, 0
    job.kernel = kernel_of(loss, job.single)[0]
    if labels.ndim == 2:
        job.kernel = loss.soft
    products = job.p * job.k
    job.turn = min(<int64_t>MOST_ROWS, max(<int64_t>LEAST_ROWS, TURN_PRODUCTS // max(<int64_t>1, products) // 8 * 8))
    job.block = (max(block, job.turn) + job.turn - 1) // job.turn * job.turn
    job.panel = table().f32.product.panel if job.single else table().f64.product.panel
    packed = np.empty(packed_size(&job), X.dtype)
    z = np.empty(min(job.block, job.n) * job.k, X.dtype)
    turns = (job.n + job.turn - 1) // job.turn
    losses, statuses = np.empty(turns), np.zeros(turns, dtype=np.int32)
    sums, residuals = np.zeros((job.k if gradient else 0, job.p + 1)), np.zeros(job.k)
    job.x, job.stride = address(X), X.strides[0] // X.itemsize
    job.packed, job.bias, job.weight, job.offset = address(packed), address(b), address(weight), address(offset)
    job.z, job.losses, job.statuses = address(z), <double *>address(losses), <int32_t *>address(statuses)
    job.sums, job.residuals = <double *>address(sums), <double *>address(residuals)
    job.label_width = 1 if labels.ndim == 1 else job.k
    if not view(labels, &buffer, &job.y):
        raise TypeError(f"y must hold real numbers, got dtype {labels.dtype}")
    try:
        job.y.direct = job.y.contiguous and job.y.dtype == (FLOAT32 if job.single else FLOAT64)
        pack(&job, address(W), <char *>job.packed)
        threads = 1 if job.n * products <= SERIAL else resolve_threads(n_threads)
        job.part = MOST_OUTPUTS
        while job.part > LEAST_OUTPUTS and tasks_of(&job) < TASKS * threads:
            job.part //= 2
        if threads > 1:
            with nogil, parallel(num_threads=threads):
                run(&job, &team)
        else:
            with nogil:
                run(&job, &team)
    finally:
        PyBuffer_Release(&buffer)
    for i in range(len(losses)):
        total += job.losses[i]
        status |= job.statuses[i]
    if gradient:
        sums[:, -1] = residuals
    return total, sums if gradient else None, status


cdef int64_t packed_size(const Pass *job):
    cdef int64_t lanes = table().f32.product.lanes if job.single else table().f64.product.lanes
    return (job.k + lanes - 1) // lanes * lanes * job.p


cdef void pack(const Pass *job, const char *W, char *packed):
    if job.single:
        table().f32.product.pack(job.k, job.p, <const float *>W, <float *>packed)
    else:
        table().f64.product.pack(job.k, job.p, <const double *>W, <double *>packed)
