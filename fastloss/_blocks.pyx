"""A kernel over all blocks of some arrays: blocks in chunks, chunks over threads, sums in a fixed order.

Samples are cut into chunks by their number alone. A chunk runs through its blocks on one thread; its sum is stored and
the sums of all chunks are added in order. So results are the same to the last bit for any number of threads.
"""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc

from fastloss._arrays cimport BLOCK, Array, itemsize, load, store
from fastloss._runtime cimport FASTLOSS_GOES_ON, FASTLOSS_PAST_CACHES, table

cdef enum:
    CHUNKS = 256  # at most so many: bounds the stored sums, whatever n is
    SMALLEST_CHUNK = 4096
    SERIAL = 16384  # up to so many samples, starting threads costs more than it saves
    # Inputs this large come from memory: they go through kernels in turns, and all lines of a turn are asked for at
    # once, before the first of them is read. Over a loop that moves the same numbers, squared error of 10^7 samples
    # took 1.01 so; 1.08 with turns of 1 KiB, 1.14 of 4 KiB, 1.15 where it is left to the CPU's own prefetchers
    # (Zen 4). Rows of few numbers: 10^7 logits of 10 classes 9.0 ms, 9.5 where the turn after the next is asked for.
    MEMORY_BYTES = 12 << 20
    TURN = 2048  # bytes of the predictions
    # Rows of more numbers are computed in pieces that the CPU's own prefetchers follow (1.1 times slower in turns).
    NARROW = 16  # numbers
    # As many as the kernels transpose (`plain_at_once` in simd/softmax_narrow.hpp). They ask for the next rows
    # themselves, a little at a time, and the next are computed while a gradient that goes past the caches drains:
    # 10 classes 10.1 ms with 64 rows, 9.2 with 32 (AVX2); 3 classes 13.1 and 14.9.
    ROWS = 64
    FEWER_ROWS = 32  # of more bytes each
    SHORT_ROW = 40  # bytes
    SLOTS = 6  # arrays that may need scratch: y_true, y_pred, sample_weight, value, gradient, hessian


cdef inline void *target(const Array *array, bint single, bint through, int64_t start, void *scratch) noexcept nogil:
    """Where a kernel writes: the array itself, or scratch from which it is stored afterwards."""
    if array == NULL:
        return NULL
    if through or not array.direct:
        return scratch
    return array.data + start * (4 if single else 8)


cdef inline void ask(const Array *array, int64_t start, int64_t count) noexcept nogil:
    if array != NULL and array.contiguous:
        table().prefetch(array.data + start * itemsize(array.dtype), count * itemsize(array.dtype))


cdef inline int64_t to_next_line(const char *address, int64_t size, int64_t block) noexcept nogil:
    """How many elements to take so that the next begins a cache line, if this one does not: lines that are stored half
    by ordinary and half by streaming stores cost more than both."""
    cdef int64_t into_line = <size_t>address % 64
    return (64 - into_line) // size if into_line else block


cdef double run_chunk(const Job *job, int64_t start, int64_t stop, int32_t *status) noexcept nogil:
    cdef double[SLOTS * BLOCK + 8] memory
    cdef double *scratch = memory
    cdef double *allocated = NULL
    if job.slot > BLOCK:
        allocated = <double *>malloc((SLOTS * job.slot + 8) * sizeof(double))
        if allocated == NULL:
            status[0] |= OUT_OF_MEMORY
            return 0
        scratch = allocated
    # Lined up with the cache: a vector stored across two lines costs two stores.
    scratch += (64 - <size_t>scratch % 64) // 8
    cdef double *value_scratch = scratch + 3 * job.slot
    cdef double *gradient_scratch = scratch + 4 * job.slot
    cdef double *hessian_scratch = scratch + 5 * job.slot
    cdef const void *y
    cdef const void *z
    cdef const void *weight = NULL
    cdef void *value
    cdef void *gradient
    cdef void *hessian
    cdef double sum = 0
    # Not status itself: the chunks of other threads lie in the same cache line.
    cdef int32_t hints = FASTLOSS_GOES_ON if job.from_memory and job.kernel_asks else 0, found
    cdef bint single = job.single, through_scratch = job.stream_gradient and not job.kernel_streams
    cdef int64_t k = job.k, width = job.label_width
    cdef int64_t n, size = 4 if single else 8
    if job.stream_gradient and job.kernel_streams:
        hints |= FASTLOSS_PAST_CACHES
    found = hints
    while start < stop:
        n = min(stop - start, job.block)
        if job.stream_gradient and k == 1:
            n = min(n, to_next_line(job.gradient.data + start * size, size, job.block))
        if job.from_memory:
            # A kernel asks for what it reads in place: for the next turn, a little at a time.
            if not (job.kernel_asks and job.y.direct):
                ask(job.y, start * width, n * width)
            if not (job.kernel_asks and job.z.direct):
                ask(job.z, start * k, n * k)
            ask(job.weight, start, n)
        y = load(job.y, single, start * width, n * width, scratch)
        z = load(job.z, single, start * k, n * k, scratch + job.slot)
        if job.weight != NULL:
            weight = load(job.weight, single, start, n, scratch + 2 * job.slot)
        value = target(job.value, single, False, start, value_scratch)
        gradient = target(job.gradient, single, through_scratch, start * k, gradient_scratch)
        hessian = target(job.hessian, single, False, start * k, hessian_scratch)
        if single:
            sum += job.kernel.f32(
                job.kernel.params, n, k, <const float *>y, <const float *>z, <const float *>weight, job.scale,
                <float *>value, <float *>gradient, <float *>hessian, &found)
        else:
            sum += job.kernel.f64(
                job.kernel.params, n, k, <const double *>y, <const double *>z, <const double *>weight, job.scale,
                <double *>value, <double *>gradient, <double *>hessian, &found)
        if value == value_scratch:
            store(job.value, single, start, n, value)
        if through_scratch:
            table().stream(<const char *>gradient, job.gradient.data + start * k * size, n * k * size)
        elif gradient == gradient_scratch:
            store(job.gradient, single, start * k, n * k, gradient)
        if hessian == hessian_scratch:
            store(job.hessian, single, start * k, n * k, hessian)
        start += n
    if job.stream_gradient:
        table().stream_fence()
    free(allocated)
    status[0] |= found & ~hints
    return sum


cdef double weigh_chunk(const Job *job, int64_t start, int64_t stop, int32_t *status) noexcept nogil:
    cdef double[2 * BLOCK] memory
    cdef double *scratch = memory
    cdef double *allocated = NULL
    cdef const void *weight = NULL
    cdef const void *y
    cdef double sum = 0
    cdef int32_t found = 0
    cdef int64_t n, width = job.label_width
    if job.weighs and job.slot > BLOCK:
        allocated = <double *>malloc(2 * job.slot * sizeof(double))
        if allocated == NULL:
            status[0] |= OUT_OF_MEMORY
            return 0
        scratch = allocated
    while start < stop:
        n = min(stop - start, job.block)
        if job.weight != NULL:
            weight = load(job.weight, job.single, start, n, scratch)
        if job.weighs:
            y = load(job.y, job.single, start * width, n * width, scratch + (job.slot if allocated else BLOCK))
            if job.single:
                sum += job.kernel.weigh_f32(
                    job.kernel.params, n, job.k, <const float *>y, <const float *>weight, &found)
            else:
                sum += job.kernel.weigh_f64(
                    job.kernel.params, n, job.k, <const double *>y, <const double *>weight, &found)
        elif job.single:
            sum += table().f32.sum_weights(n, <const float *>weight, &found)
        else:
            sum += table().f64.sum_weights(n, <const double *>weight, &found)
        start += n
    free(allocated)
    status[0] |= found
    return sum


ctypedef double (*ChunkRunner)(const Job *job, int64_t start, int64_t stop, int32_t *status) noexcept nogil


cdef double run(const Job *job, ChunkRunner runner, int32_t *status) noexcept nogil:
    """All chunks, over threads; the sum of their sums, in order."""
    cdef double[CHUNKS] sums
    cdef int32_t[CHUNKS] statuses
    cdef int64_t i
    cdef double sum = 0
    if job.threads == 1:
        for i in range(job.chunks):
            sum += runner(job, i * job.chunk, min(job.n, (i + 1) * job.chunk), status)
        return sum
    for i in prange(job.chunks, num_threads=job.threads, schedule="dynamic"):
        statuses[i] = 0
        sums[i] = runner(job, i * job.chunk, min(job.n, (i + 1) * job.chunk), &statuses[i])
    for i in range(job.chunks):
        sum += sums[i]
        status[0] |= statuses[i]
    return sum


cdef double sum_losses(const Job *job, int32_t *status) noexcept nogil:
    """The weighted loss of all samples; what the job has arrays for is written to them."""
    return run(job, run_chunk, status)


cdef double sum_weights(const Job *job, int32_t *status) noexcept nogil:
    """What a mean divides by: the sum of the weights, or what the kernel makes of them and the labels."""
    return run(job, weigh_chunk, status)


cdef void cut(Job *job, int threads) noexcept nogil:
    """Divide the samples into chunks, by their number and width alone, and chunks into blocks."""
    cdef int64_t size = 4 if job.single else 8
    cdef int64_t row = job.k * itemsize(job.z.dtype)
    cdef int64_t inputs = row + job.label_width * itemsize(job.y.dtype)
    if job.weight != NULL:
        inputs += itemsize(job.weight.dtype)
    job.from_memory = job.n * inputs >= MEMORY_BYTES and job.k <= NARROW
    job.slot = BLOCK
    job.block = BLOCK
    if job.from_memory:
        if job.k == 1:
            job.block = TURN // size
        elif job.kernel_asks:
            job.block = ROWS if row <= SHORT_ROW else FEWER_ROWS
        else:
            job.block = min(<int64_t>ROWS, max(<int64_t>8, TURN // row // 8 * 8))
    job.stream_gradient = job.stream_gradient and (job.k == 1 or job.from_memory)
    if job.stream_gradient:
        job.slot = max(job.slot, job.block * job.k)
    if job.k != 1 and not (job.z.direct and (job.label_width == 1 or job.y.direct)
                           and (job.gradient == NULL or job.gradient.direct)
                           and (job.hessian == NULL or job.hessian.direct)):
        # Whole rows go through scratch.
        job.block = max(<int64_t>1, BLOCK // max(<int64_t>1, job.k))
        if job.k <= NARROW:
            job.block = max(<int64_t>ROWS, job.block // ROWS * ROWS)
        job.slot = max(<int64_t>BLOCK, job.block * job.k)
    job.chunk = max((SMALLEST_CHUNK + job.k - 1) // max(<int64_t>1, job.k), (job.n + CHUNKS - 1) // CHUNKS)
    # What kernels take at a time begins at the same samples however they are called.
    if job.k == 1:
        job.chunk = (job.chunk + BLOCK - 1) // BLOCK * BLOCK
    elif job.k <= NARROW:
        job.chunk = (job.chunk + ROWS - 1) // ROWS * ROWS
    job.chunks = (job.n + job.chunk - 1) // job.chunk
    job.threads = 1 if job.n * job.k <= SERIAL else <int>min(<int64_t>threads, job.chunks)


cdef int64_t first_fault(const Job *job, int32_t wanted):
    """The first sample with which the kernel finds fault; the number of samples if there is none."""
    cdef Job probe = job[0]
    cdef int64_t i = 0
    cdef int32_t status = 0
    probe.value = probe.gradient = probe.hessian = NULL
    probe.stream_gradient = probe.from_memory = False
    probe.block = BLOCK if job.k == 1 else max(<int64_t>1, BLOCK // job.k)
    with nogil:
        while i < job.n:  # the first block at fault, then the first sample in it
            run_chunk(&probe, i, min(job.n, i + probe.block), &status)
            if status & wanted:
                break
            i += probe.block
        for i in range(i, job.n):
            status = 0
            run_chunk(&probe, i, i + 1, &status)
            if status & wanted:
                break
    return i if status & wanted else job.n
