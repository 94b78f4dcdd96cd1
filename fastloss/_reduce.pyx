"""Losses over arrays: blocks through a kernel, blocks in chunks, chunks over threads, sums in a fixed order.

Samples are cut into chunks by their number alone. A chunk runs through its blocks on one thread; its sum is stored and
the sums of all chunks are added in order. So results are the same to the last bit for any number of threads.
"""

from cpython.buffer cimport PyBuffer_Release
from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc

from fastloss._arrays cimport (
    BLOCK, FLOAT32, FLOAT64, Array, is_contiguous, load, overlap, same_memory, store, transpose, view)
from fastloss._runtime cimport (
    FASTLOSS_BAD_LABEL, FASTLOSS_BAD_PREDICTION, FASTLOSS_BAD_WEIGHT, FASTLOSS_KERNEL_VERSION, LossEntry,
    fastloss_kernel, resolve_threads, table)

import numpy as np

from fastloss._arrays import as_real_array

cdef type ndarray = np.ndarray
cdef object empty_like = np.empty_like
cdef object float32 = np.dtype(np.float32), float64 = np.dtype(np.float64)

cdef enum:
    CHUNKS = 256  # at most so many: bounds the stored sums, whatever n is
    SMALLEST_CHUNK = 4096
    SERIAL = 16384  # up to so many samples, starting threads costs more than it saves
    STREAM_BYTES = 32 << 20  # an output this large leaves the caches before anybody reads it
    # Streamed in short turns, with the next turn's inputs asked for, reads and writes overlap. Squared error of 10^7
    # samples: 8.4 ms with turns of 4 KiB, 6.5 ms with these; 6.4 ms for one loop of streaming stores, 7.7 of ordinary.
    STREAM_BLOCK = 1024  # bytes

cdef enum Reduction:
    NONE
    SUM
    MEAN

cdef struct Job:
    fastloss_kernel kernel
    bint single  # float32
    int64_t n  # samples
    int64_t chunk  # samples a chunk
    int64_t chunks
    int threads
    double scale
    # NULL where there is none
    Array *y
    Array *z
    Array *weight
    Array *value
    Array *gradient
    Array *hessian
    bint stream_gradient
    bint transposed  # all arrays are Fortran-ordered and seen as their transposes


cdef inline void *target(const Array *array, bint single, bint through, int64_t start, void *scratch) noexcept nogil:
    """Where a kernel writes: the array itself, or scratch from which it is stored afterwards."""
    if array == NULL:
        return NULL
    if through or not array.direct:
        return scratch
    return array.data + start * (4 if single else 8)


cdef inline int64_t to_next_line(const char *address, int64_t size, int64_t block) noexcept nogil:
    """How many elements to take so that the next begins a cache line, if this one does not: lines that are stored half
    by ordinary and half by streaming stores cost more than both."""
    cdef int64_t into_line = <size_t>address % 64
    return (64 - into_line) // size if into_line else block


cdef double run_chunk(const Job *job, int64_t start, int64_t stop, int32_t *status) noexcept nogil:
    cdef double[6 * BLOCK + 8] memory
    # Lined up with the cache: a vector stored across two lines costs two stores.
    cdef double *scratch = memory + (64 - <size_t>&memory[0] % 64) // 8
    cdef const void *y
    cdef const void *z
    cdef const void *weight = NULL
    cdef void *value
    cdef void *gradient
    cdef void *hessian
    cdef double sum = 0
    cdef int32_t found = 0  # not status itself: the chunks of other threads lie in the same cache line
    cdef bint single = job.single
    cdef int64_t n, ahead, size = 4 if single else 8
    cdef int64_t block = STREAM_BLOCK // size if job.stream_gradient else BLOCK
    while start < stop:
        n = min(stop - start, block)
        if job.stream_gradient:
            n = min(n, to_next_line(job.gradient.data + start * size, size, block))
        y = load(job.y, single, start, n, scratch)
        z = load(job.z, single, start, n, scratch + BLOCK)
        if job.weight != NULL:
            weight = load(job.weight, single, start, n, scratch + 2 * BLOCK)
        value = target(job.value, single, False, start, scratch + 3 * BLOCK)
        gradient = target(job.gradient, single, job.stream_gradient, start, scratch + 4 * BLOCK)
        hessian = target(job.hessian, single, False, start, scratch + 5 * BLOCK)
        if single:
            sum += job.kernel.f32(
                job.kernel.params, n, 1, <const float *>y, <const float *>z, <const float *>weight, job.scale,
                <float *>value, <float *>gradient, <float *>hessian, &found)
        else:
            sum += job.kernel.f64(
                job.kernel.params, n, 1, <const double *>y, <const double *>z, <const double *>weight, job.scale,
                <double *>value, <double *>gradient, <double *>hessian, &found)
        if value == scratch + 3 * BLOCK:
            store(job.value, single, start, n, value)
        if job.stream_gradient:
            ahead = min(block, stop - start - n)
            table().stream(
                <const char *>gradient, job.gradient.data + start * size, n * size,
                job.y.data + (start + n) * size if job.y.direct else NULL,
                job.z.data + (start + n) * size if job.z.direct else NULL, ahead * size)
        elif gradient == scratch + 4 * BLOCK:
            store(job.gradient, single, start, n, gradient)
        if hessian == scratch + 5 * BLOCK:
            store(job.hessian, single, start, n, hessian)
        start += n
    if job.stream_gradient:
        table().stream_fence()
    status[0] |= found
    return sum


cdef double weigh_chunk(const Job *job, int64_t start, int64_t stop, int32_t *status) noexcept nogil:
    """The sum of a chunk's weights."""
    cdef double[BLOCK] scratch
    cdef const void *weight
    cdef double sum = 0
    cdef int32_t found = 0
    cdef int64_t n
    while start < stop:
        n = min(stop - start, <int64_t>BLOCK)
        weight = load(job.weight, job.single, start, n, scratch)
        if job.single:
            sum += table().f32.sum_weights(n, <const float *>weight, &found)
        else:
            sum += table().f64.sum_weights(n, <const double *>weight, &found)
        start += n
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


cdef void cut(Job *job, int threads) noexcept nogil:
    """Divide the samples into chunks: by n alone."""
    job.chunk = max(<int64_t>SMALLEST_CHUNK, (job.n + CHUNKS - 1) // CHUNKS)
    job.chunk = (job.chunk + BLOCK - 1) // BLOCK * BLOCK
    job.chunks = (job.n + job.chunk - 1) // job.chunk
    job.threads = 1 if job.n <= SERIAL else <int>min(<int64_t>threads, job.chunks)


cdef Reduction parse_reduction(reduction) except *:
    if isinstance(reduction, str):
        if reduction == "mean":
            return MEAN
        if reduction == "sum":
            return SUM
        if reduction == "none":
            return NONE
    raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


cdef str shape_text(const Array *array):
    return str(tuple([array.shape[axis] for axis in range(array.ndim)]))


cdef bint same_shape(const Array *a, const Array *b) noexcept nogil:
    cdef int axis
    if a.ndim != b.ndim:
        return False
    for axis in range(a.ndim):
        if a.shape[axis] != b.shape[axis]:
            return False
    return True


cdef struct Arguments:
    # The arrays of one call, in the order in which they were taken.
    Py_buffer[6] buffers
    Array[6] arrays
    int held


cdef void release(Arguments *arguments) noexcept:
    cdef int i
    for i in range(arguments.held):
        PyBuffer_Release(&arguments.buffers[i])


cdef Array *take(Arguments *arguments, x, str name) except NULL:
    """An input: seen as it is where kernels can read it, converted otherwise."""
    cdef Array *array = &arguments.arrays[arguments.held]
    cdef Py_buffer *buffer = &arguments.buffers[arguments.held]
    if not view(x, buffer, array):
        view(as_real_array(x, name), buffer, array)
    arguments.held += 1
    return array


cdef Array *take_output(Arguments *arguments, x, str name, const Array *like, bint single) except NULL:
    """An output: it must fit exactly."""
    cdef Array *array = &arguments.arrays[arguments.held]
    cdef Py_buffer *buffer = &arguments.buffers[arguments.held]
    cdef str wanted = "float32" if single else "float64"
    cdef int axis
    if not isinstance(x, ndarray):
        raise TypeError(f"{name} must be a numpy array, got {type(x).__name__}")
    if type(x) is not ndarray:
        as_real_array(x, name)  # refuses a masked array, for one
        x = np.asarray(x)
    if not view(x, buffer, array):
        raise TypeError(f"{name} must be of dtype {wanted}, as the results are; got {x.dtype}")
    arguments.held += 1
    if array.dtype != (FLOAT32 if single else FLOAT64):
        raise TypeError(f"{name} must be of dtype {wanted}, as the results are; got {x.dtype}")
    if not same_shape(array, like):
        raise ValueError(f"{name} must have the shape of y_pred, {shape_text(like)}; got {shape_text(array)}")
    if buffer.readonly:
        raise ValueError(f"{name} must be writable; it is read-only")
    for axis in range(array.ndim):
        if array.size and array.strides[axis] == 0 and array.shape[axis] > 1:
            raise ValueError(f"{name} must not overlap itself; several of its elements are the same memory")
    return array


cdef int check_overlap(Arguments *arguments, int first_output) except -1:
    """Outputs share no memory with inputs, unless one is an input itself, element for element."""
    cdef int i, j
    cdef Array *a
    cdef Array *b
    for i in range(first_output, arguments.held):
        for j in range(i):
            a = &arguments.arrays[i]
            b = &arguments.arrays[j]
            if not overlap(a, b) or (j < first_output and same_memory(a, b)):
                continue
            # The bounds meet: interleaved views may still be apart.
            if np.shares_memory(<object>arguments.buffers[i].obj, <object>arguments.buffers[j].obj):
                name = ("y_true", "y_pred", "sample_weight")[j] if j < first_output else "the other output"
                raise ValueError(f"out must not share memory with {name}, unless it is that very array; it does")
    return 0


cdef const fastloss_kernel *kernel_of(BlockLoss loss) except NULL:
    if loss.kernel.f64 == NULL:
        raise TypeError(f"{type(loss).__name__} has no kernel: use one of the losses, such as SquaredError()")
    return &loss.kernel


cdef object allocate(Arguments *arguments, dtype):
    """An uninitialised array like y_pred, in its memory order."""
    return empty_like(<object>arguments.buffers[1].obj, dtype=dtype, subok=False)


cdef int fit_weight(Array *weight, const Array *z) except -1:
    """Spread one weight, or one for each entry of the first axis, over the shape of z."""
    cdef int axis
    cdef Py_ssize_t stride
    if same_shape(weight, z):
        return 0
    if weight.ndim == 0:
        stride = 0
    elif weight.ndim == 1 and z.ndim > 1 and weight.shape[0] == z.shape[0]:
        stride = weight.strides[0]
    else:
        raise ValueError(
            f"sample_weight must have the shape of y_pred, {shape_text(z)}, or one entry for each of its first axis; "
            f"got {shape_text(weight)}")
    weight.ndim = z.ndim
    weight.size = z.size
    for axis in range(z.ndim):
        weight.shape[axis] = z.shape[axis]
        weight.strides[axis] = stride if axis == 0 else 0
    weight.contiguous = is_contiguous(weight, False)
    return 0


cdef str position(const Array *array, int64_t i, bint transposed):
    """The index of the element i in C order, in words."""
    cdef int axis
    index = []
    for axis in range(array.ndim - 1, -1, -1):
        index.append(i % array.shape[axis])
        i //= array.shape[axis]
    if not transposed:
        index.reverse()
    if not index:
        return ""
    return f" at index {index[0] if len(index) == 1 else tuple(index)}"


cdef class BlockLoss:
    """A block kernel with its parameters, and what can be done with it over arrays."""

    def __cinit__(self, *args, **kwargs):
        self.parameters = NULL

    def __dealloc__(self):
        free(self.parameters)

    def _bind(self, str kernel, parameters):
        """Take the kernel of that name from the table of the instruction set in use; once."""
        cdef const LossEntry *entry
        cdef int i
        cdef bytes name = kernel.encode()
        for i in range(table().n_losses):
            entry = &table().losses[i]
            if entry.name == name:
                break
        else:
            raise ValueError(f"no kernel is named {kernel!r}")
        if self.parameters != NULL:
            raise AttributeError(f"{type(self).__name__} is immutable; make a new one")
        self.parameters = <double *>malloc(max(1, len(parameters)) * sizeof(double))
        if self.parameters == NULL:
            raise MemoryError()
        for i, value in enumerate(parameters):
            self.parameters[i] = value
        self.streams = entry.streams
        self.kernel = fastloss_kernel(
            version=FASTLOSS_KERNEL_VERSION, label_width=entry.label_width, outputs=entry.outputs,
            n_params=len(parameters), params=self.parameters, f32=entry.f32, f64=entry.f64)

    @property
    def kernel_address(self):
        """Address of the C struct ``fastloss_kernel`` (``fastloss/simd/kernel.h``); valid while this object lives."""
        return <size_t>&self.kernel

    def __call__(self, y_true, y_pred, sample_weight=None, *, reduction="mean", n_threads=None):
        """The loss.

        Parameters
        ----------
        y_true : array_like
            Labels, of the shape of ``y_pred``; any real dtype. Converted to the dtype of the computation.
        y_pred : array_like
            Predictions, of any shape. float32 computes in float32, all else in float64; sums are float64 always.
        sample_weight : array_like, optional
            Weights, finite and >= 0: of the shape of ``y_pred``, or one for each entry of its first axis. A weight of 0
            removes the sample, even where its loss is infinite or NaN.
        reduction : {"mean", "sum", "none"}
            ``"mean"`` divides by the sum of the weights (NaN if that is 0), or by the number of predictions.
        n_threads : int, optional
            At most so many threads; the result does not depend on it. See `fastloss.set_num_threads`.

        Returns
        -------
        float or ndarray
            An array of the shape of ``y_pred`` with ``"none"``, each entry multiplied by its weight.

        Raises
        ------
        TypeError, ValueError
            For a dtype, shape or option that does not fit, and for values outside their domain. The message names
            the argument.
        """
        return compute(
            self, y_true, y_pred, sample_weight, parse_reduction(reduction), False, False, None, None, n_threads)[0]

    def value_and_grad(self, y_true, y_pred, sample_weight=None, *, reduction="mean", out=None, n_threads=None):
        """The loss and its gradient with respect to ``y_pred``, in one pass.

        Parameters
        ----------
        y_true, y_pred, sample_weight, reduction, n_threads
            As for calling the loss itself.
        out : ndarray, optional
            Takes the gradient: writable, of the shape of ``y_pred`` and of the dtype of the computation; it may be
            ``y_pred`` itself. A call with ``out`` allocates nothing that grows with the number of samples, unless an
            input is of a dtype that must be converted first (float16, foreign byte order, lists).

        Returns
        -------
        value : float or ndarray
            As from calling the loss itself.
        gradient : ndarray
            The derivative of that value: with ``"mean"`` it carries the factor 1 / sum of weights. ``out``, if given.

        Raises
        ------
        TypeError, ValueError
            For a dtype, shape or option that does not fit, before anything is written; and for values outside their
            domain, after which the content of ``out`` is unspecified. The message names the argument.
        """
        value, gradient, _ = compute(
            self, y_true, y_pred, sample_weight, parse_reduction(reduction), True, False, out, None, n_threads)
        return value, gradient

    def grad_and_hess(self, y_true, y_pred, sample_weight=None, *, out=None, n_threads=None):
        """Gradient and second derivative of each sample's loss, times its weight: what gradient boosting takes.

        Parameters
        ----------
        y_true, y_pred, sample_weight, n_threads
            As for calling the loss itself.
        out : tuple of two ndarrays, optional
            Takes the two results, each like ``out`` of `value_and_grad`.

        Returns
        -------
        gradient, hessian : ndarray
            Of the shape of ``y_pred``. Where the loss has a kink or is linear, the second derivative is 0, as it is
            almost everywhere.

        Raises
        ------
        TypeError, ValueError
            As for `value_and_grad`.
        """
        if out is None:
            out = (None, None)
        elif not isinstance(out, tuple) or len(out) != 2:
            raise TypeError(f"out must be a tuple of two arrays, for gradient and hessian; got {type(out).__name__}")
        _, gradient, hessian = compute(
            self, y_true, y_pred, sample_weight, SUM, True, True, out[0], out[1], n_threads)
        return gradient, hessian


cdef tuple compute(BlockLoss loss, y_true, y_pred, sample_weight, Reduction reduction,
                   bint want_gradient, bint want_hessian, gradient, hessian, n_threads):
    cdef Arguments arguments
    cdef Job job
    cdef int threads = resolve_threads(n_threads)
    cdef int32_t status = 0
    cdef double total
    cdef double sum = 0
    cdef int first_output, i
    value = None
    job.kernel = kernel_of(loss)[0]
    arguments.held = 0
    try:
        job.y = take(&arguments, y_true, "y_true")
        job.z = take(&arguments, y_pred, "y_pred")
        job.single = job.z.dtype == FLOAT32
        job.n = job.z.size
        if not same_shape(job.y, job.z):
            raise ValueError(
                f"y_true must have the shape of y_pred, {shape_text(job.z)}; got {shape_text(job.y)}")
        job.weight = NULL
        if sample_weight is not None:
            job.weight = take(&arguments, sample_weight, "sample_weight")
            fit_weight(job.weight, job.z)
        first_output = arguments.held
        dtype = float32 if job.single else float64
        job.value = job.gradient = job.hessian = NULL
        if want_gradient:
            if gradient is None:
                gradient = allocate(&arguments, dtype)
            job.gradient = take_output(&arguments, gradient, "out[0]" if want_hessian else "out", job.z, job.single)
        if want_hessian:
            if hessian is None:
                hessian = allocate(&arguments, dtype)
            job.hessian = take_output(&arguments, hessian, "out[1]", job.z, job.single)
        check_overlap(&arguments, first_output)
        if reduction == NONE:
            value = allocate(&arguments, dtype)
            job.value = take_output(&arguments, value, "value", job.z, job.single)

        job.transposed = job.z.ndim > 1 and not job.z.contiguous and is_contiguous(job.z, True)
        for i in range(arguments.held):
            if job.transposed:
                transpose(&arguments.arrays[i])
            arguments.arrays[i].direct = (
                arguments.arrays[i].contiguous and arguments.arrays[i].dtype == (FLOAT32 if job.single else FLOAT64))
        job.kernel = loss.kernel
        job.stream_gradient = (
            loss.streams and job.gradient != NULL and job.gradient.direct
            and job.n * (4 if job.single else 8) >= STREAM_BYTES
            and not overlap(job.gradient, job.z) and not overlap(job.gradient, job.y))
        cut(&job, threads)
        with nogil:
            job.scale = 1
            total = <double>job.n
            if reduction == MEAN:
                if job.weight != NULL:
                    total = run(&job, weigh_chunk, &status)
                # Without any weight the gradient is 0, whatever the scale.
                job.scale = 1 / total if total > 0 else 0
            if status == 0:
                sum = run(&job, run_chunk, &status)
        if status != 0:
            refuse(loss, &job, status)
        if reduction == MEAN:
            value = sum / total if total > 0 else float("nan")
        elif reduction == SUM:
            value = sum
        return value, gradient, hessian
    finally:
        release(&arguments)


cdef int refuse(BlockLoss loss, const Job *job, int32_t status) except -1:
    """Raise the error for what kernels found outside its domain, with the first place where it is."""
    cdef Array *array
    if status & FASTLOSS_BAD_WEIGHT:
        name, domain, array = "sample_weight", "finite numbers >= 0", job.weight
    elif status & FASTLOSS_BAD_LABEL:
        name, domain, array = "y_true", loss.label_domain, job.y
    else:
        name, domain, array = "y_pred", loss.prediction_domain, job.z
    status = FASTLOSS_BAD_WEIGHT if name == "sample_weight" else (
        FASTLOSS_BAD_LABEL if name == "y_true" else FASTLOSS_BAD_PREDICTION)
    place = ""
    if job.gradient == NULL or not overlap(job.gradient, array):
        place = locate(job, status, array)
    raise ValueError(f"{name} must hold {domain}{place}")


cdef str locate(const Job *job, int32_t wanted, const Array *array):
    """Where the kernel first finds fault, in words."""
    cdef Job probe = job[0]
    cdef int64_t i = 0
    cdef int32_t status = 0
    cdef double[1] number
    probe.value = probe.gradient = probe.hessian = NULL
    probe.stream_gradient = False
    with nogil:
        while i < job.n:  # the first block at fault, then the first sample in it
            run_chunk(&probe, i, min(job.n, i + BLOCK), &status)
            if status & wanted:
                break
            i += BLOCK
        for i in range(i, job.n):
            status = 0
            run_chunk(&probe, i, i + 1, &status)
            if status & wanted:
                break
    if not status & wanted:
        return ""
    if job.single:
        return f"; got {(<const float *>load(array, True, i, 1, number))[0]:g}{position(array, i, job.transposed)}"
    return f"; got {(<const double *>load(array, False, i, 1, number))[0]:g}{position(array, i, job.transposed)}"


def _vmath(str name, x):
    """exp, log, log1p or sigmoid of a contiguous float32 or float64 array, as the kernels compute them: for tests."""
    cdef int index = ("exp", "log", "log1p", "sigmoid").index(name)
    result = np.empty_like(x)
    cdef const float[::1] x32
    cdef const double[::1] x64
    cdef float[::1] out32
    cdef double[::1] out64
    if x.dtype == np.float32:
        x32, out32 = x, result
        table().f32.vmath[index](x32.shape[0], &x32[0], &out32[0])
    else:
        x64, out64 = x, result
        table().f64.vmath[index](x64.shape[0], &x64[0], &out64[0])
    return result
