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
    FASTLOSS_BAD_LABEL, FASTLOSS_BAD_PREDICTION, FASTLOSS_BAD_WEIGHT, FASTLOSS_KERNEL_VERSION, FASTLOSS_RAISED,
    LossEntry, fastloss_block_f32, fastloss_block_f64, fastloss_kernel, resolve_threads, table)

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
    SLOTS = 6  # arrays that may need scratch: y_true, y_pred, sample_weight, value, gradient, hessian
    OUT_OF_MEMORY = 1 << 20  # a bit of the status
    LARGEST_INDEX = 1 << 24  # float32 holds all integers up to it

cdef enum Reduction:
    NONE
    SUM
    MEAN

cdef struct Job:
    fastloss_kernel kernel
    bint single  # float32
    int64_t n  # samples
    int64_t k  # numbers of y_pred a sample
    int64_t label_width  # numbers of y_true a sample
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
    bint weighs  # whether the kernel itself says what a mean divides by
    bint transposed  # all arrays are Fortran-ordered and seen as their transposes
    int64_t block  # samples a kernel call
    int64_t slot  # doubles of scratch for each array


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
    cdef int32_t found = 0  # not status itself: the chunks of other threads lie in the same cache line
    cdef bint single = job.single
    cdef int64_t k = job.k, width = job.label_width
    cdef int64_t n, ahead, size = 4 if single else 8
    while start < stop:
        n = min(stop - start, job.block)
        if job.stream_gradient:
            n = min(n, to_next_line(job.gradient.data + start * size, size, job.block))
        y = load(job.y, single, start * width, n * width, scratch)
        z = load(job.z, single, start * k, n * k, scratch + job.slot)
        if job.weight != NULL:
            weight = load(job.weight, single, start, n, scratch + 2 * job.slot)
        value = target(job.value, single, False, start, value_scratch)
        gradient = target(job.gradient, single, job.stream_gradient, start * k, gradient_scratch)
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
        if job.stream_gradient:
            ahead = min(job.block, stop - start - n)
            table().stream(
                <const char *>gradient, job.gradient.data + start * size, n * size,
                job.y.data + (start + n) * size if job.y.direct else NULL,
                job.z.data + (start + n) * size if job.z.direct else NULL, ahead * size)
        elif gradient == gradient_scratch:
            store(job.gradient, single, start * k, n * k, gradient)
        if hessian == hessian_scratch:
            store(job.hessian, single, start * k, n * k, hessian)
        start += n
    if job.stream_gradient:
        table().stream_fence()
    free(allocated)
    status[0] |= found
    return sum


cdef double weigh_chunk(const Job *job, int64_t start, int64_t stop, int32_t *status) noexcept nogil:
    """What a mean divides by: the sum of a chunk's weights, or what the kernel makes of them and the labels."""
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


cdef void cut(Job *job, int threads) noexcept nogil:
    """Divide the samples into chunks, by their number and width alone, and chunks into blocks."""
    cdef int64_t size = 4 if job.single else 8
    job.slot = BLOCK
    job.block = STREAM_BLOCK // size if job.stream_gradient else BLOCK
    if job.k != 1 and not (job.z.direct and (job.label_width == 1 or job.y.direct)
                           and (job.gradient == NULL or job.gradient.direct)
                           and (job.hessian == NULL or job.hessian.direct)):
        # Whole rows go through scratch.
        job.slot = max(<int64_t>BLOCK, job.k)
        job.block = max(<int64_t>1, BLOCK // max(<int64_t>1, job.k))
    job.chunk = max((SMALLEST_CHUNK + job.k - 1) // max(<int64_t>1, job.k), (job.n + CHUNKS - 1) // CHUNKS)
    if job.k == 1:
        job.chunk = (job.chunk + BLOCK - 1) // BLOCK * BLOCK
    job.chunks = (job.n + job.chunk - 1) // job.chunk
    job.threads = 1 if job.n * job.k <= SERIAL else <int>min(<int64_t>threads, job.chunks)


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
    if like != NULL and not same_shape(array, like):
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


class DomainError(ValueError):
    """A label, prediction or weight is outside its domain."""


class LostSampleError(RuntimeError):
    """A user's loss raised an exception for a sample that its gradient, written in place, has replaced."""


cdef const fastloss_kernel *kernel_of(BlockLoss loss, bint single) except NULL:
    """The kernel of a loss, with its function for the dtype."""
    if loss.kernel.f64 == NULL:
        raise TypeError(f"{type(loss).__name__} has no kernel: use one of the losses, such as SquaredError()")
    if single and loss.kernel.f32 == NULL:
        loss.kernel.f32 = <fastloss_block_f32><size_t>loss._function_for_float32()
        if loss.soft.f64 != NULL:
            loss.soft.f32 = loss.kernel.f32
    return &loss.kernel


cdef object allocate(Arguments *arguments, dtype):
    """An uninitialised array like y_pred, in its memory order."""
    return empty_like(<object>arguments.buffers[1].obj, dtype=dtype, subok=False)


cdef int fit_weight(Array *weight, const Array *z, int sample_axes) except -1:
    """Spread one weight, or one for each entry of the first axis, over the samples: the first axes of z."""
    cdef int axis
    cdef Py_ssize_t stride
    cdef bint fits = weight.ndim == sample_axes
    if fits:
        for axis in range(sample_axes):
            fits = fits and weight.shape[axis] == z.shape[axis]
    if fits:
        return 0
    if weight.ndim == 0:
        stride = 0
    elif weight.ndim == 1 and sample_axes > 1 and weight.shape[0] == z.shape[0]:
        stride = weight.strides[0]
    else:
        wanted = shape_text(z) if sample_axes == z.ndim else str(tuple([z.shape[axis] for axis in range(sample_axes)]))
        of = "the shape of y_pred" if sample_axes == z.ndim else "one entry for each row of y_pred, shape"
        raise ValueError(
            f"sample_weight must have {of}, {wanted}, or one entry for each of its first axis; "
            f"got {shape_text(weight)}")
    weight.ndim = sample_axes
    weight.size = 1
    for axis in range(sample_axes):
        weight.shape[axis] = z.shape[axis]
        weight.size *= z.shape[axis]
        weight.strides[axis] = stride if axis == 0 else 0
    weight.contiguous = is_contiguous(weight, False)
    return 0


cdef int fit_rows(BlockLoss loss, Job *job) except -1:
    """Find samples and outputs in the shapes of y_true and y_pred, where a sample has several outputs."""
    cdef int axis, samples = job.z.ndim - 1
    cdef bint hard, soft
    if job.z.ndim == 0:
        raise ValueError("y_pred must have its classes along its last axis; got a single number")
    job.k = job.z.shape[samples]
    hard = job.y.ndim == samples
    soft = job.y.ndim == job.z.ndim and job.y.shape[samples] == job.k
    for axis in range(samples):
        if job.y.ndim > axis and job.y.shape[axis] != job.z.shape[axis]:
            hard = soft = False
    hard = hard and loss.kernel.label_width == 1
    soft = soft and loss.soft.f64 != NULL
    if not hard and not soft:
        rows = str(tuple([job.z.shape[axis] for axis in range(samples)]))
        wanted = []
        if loss.kernel.label_width == 1:
            wanted.append(f"one label for each row of y_pred, shape {rows}")
        if loss.soft.f64 != NULL:
            wanted.append(f"a row for each, shape {shape_text(job.z)}")
        raise ValueError(f"y_true must have {', or '.join(wanted)}; got {shape_text(job.y)}")
    if job.k == 0:
        raise ValueError(f"y_pred must have at least one class along its last axis; got shape {shape_text(job.z)}")
    if job.single and job.k > LARGEST_INDEX:
        raise ValueError(f"y_pred must have at most {LARGEST_INDEX} classes in float32; got {job.k}")
    loss.check_classes(job.k)
    job.n = job.z.size // job.k
    job.kernel = loss.kernel if hard else loss.soft
    job.label_width = 1 if hard else job.k
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


cdef const LossEntry *entry_of(str name) except NULL:
    cdef int i
    cdef bytes encoded = name.encode()
    for i in range(table().n_losses):
        if table().losses[i].name == encoded:
            return &table().losses[i]
    raise ValueError(f"no kernel is named {name!r}")


cdef fastloss_kernel make_kernel(const LossEntry *entry, const double *params, int64_t n_params, bint weighs):
    cdef fastloss_kernel kernel = fastloss_kernel(
        version=FASTLOSS_KERNEL_VERSION, label_width=entry.label_width, outputs=entry.outputs, n_params=n_params,
        params=params, f32=entry.f32, f64=entry.f64, weigh_f32=NULL, weigh_f64=NULL)
    if weighs:
        kernel.weigh_f32, kernel.weigh_f64 = entry.weigh_f32, entry.weigh_f64
    return kernel


cdef class BlockLoss:
    """A block kernel with its parameters, and what can be done with it over arrays."""

    def __cinit__(self, *args, **kwargs):
        self.parameters = NULL

    def __dealloc__(self):
        free(self.parameters)

    def _bind(self, str kernel, parameters, bint weighs=False):
        """Take the kernel of that name from the table of the instruction set in use; once.

        `weighs`: whether the parameters make labels count differently, so that a mean must ask the kernel.
        """
        if self.parameters != NULL:
            raise AttributeError(f"{type(self).__name__} is immutable; make a new one")
        self.parameters = <double *>malloc(max(1, len(parameters)) * sizeof(double))
        if self.parameters == NULL:
            raise MemoryError()
        for i, value in enumerate(parameters):
            self.parameters[i] = value
        cdef const LossEntry *entry = entry_of(kernel)
        self.streams = entry.streams
        self.kernel = make_kernel(entry, self.parameters, len(parameters), weighs)
        if entry.outputs != 1:
            self.soft = make_kernel(entry_of(kernel + "_soft"), self.parameters, len(parameters), weighs)

    def _bind_function(self, size_t f64, parameters, bint many_outputs, bint row_labels):
        """Take a block function by its address, instead of those of a name; once. The caller keeps it alive.

        That for float32 is asked for when it is needed: `_function_for_float32`.
        """
        if self.parameters != NULL:
            raise AttributeError(f"{type(self).__name__} is immutable; make a new one")
        self.parameters = <double *>malloc(max(1, len(parameters)) * sizeof(double))
        if self.parameters == NULL:
            raise MemoryError()
        for i, value in enumerate(parameters):
            self.parameters[i] = value
        self.streams = False
        self.rereads = many_outputs
        self.kernel = fastloss_kernel(
            version=FASTLOSS_KERNEL_VERSION, label_width=0 if row_labels else 1, outputs=0 if many_outputs else 1,
            n_params=len(parameters), params=self.parameters, f32=NULL,
            f64=<fastloss_block_f64>f64, weigh_f32=NULL, weigh_f64=NULL)
        if row_labels:
            self.soft = self.kernel

    def _function_for_float32(self):
        """The address of the block function for float32."""
        raise TypeError(f"{self!r} has no kernel for float32")

    def _reraise(self, label, prediction, place):
        """Raise the exception of a kernel that says it has one."""
        raise RuntimeError(f"{self!r} failed{place}")

    def check_classes(self, k):
        """Raise ValueError where the loss cannot have k outputs."""

    @property
    def kernel_address(self):
        """Address of the C struct ``fastloss_kernel`` (``fastloss/simd/kernel.h``); valid while this object lives."""
        if self.kernel.f64 != NULL:
            kernel_of(self, True)  # all of it
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

    def _derivatives(self, y_true, y_pred, sample_weight, n_threads):
        """The sum of the losses, and gradient and second derivative of each, in one pass: what Newton steps take."""
        return compute(self, y_true, y_pred, sample_weight, SUM, True, True, None, None, n_threads)


cdef tuple compute(BlockLoss loss, y_true, y_pred, sample_weight, Reduction reduction,
                   bint want_gradient, bint want_hessian, gradient, hessian, n_threads):
    cdef Arguments arguments
    cdef Job job
    cdef int threads = resolve_threads(n_threads)
    cdef int32_t status = 0
    cdef double total
    cdef double sum = 0
    cdef int first_output, i, sample_axes
    value = None
    arguments.held = 0
    try:
        job.y = take(&arguments, y_true, "y_true")
        job.z = take(&arguments, y_pred, "y_pred")
        job.single = job.z.dtype == FLOAT32
        job.kernel = kernel_of(loss, job.single)[0]
        if job.kernel.outputs == 1:
            job.n = job.z.size
            job.k = job.label_width = 1
            if not same_shape(job.y, job.z):
                raise ValueError(
                    f"y_true must have the shape of y_pred, {shape_text(job.z)}; got {shape_text(job.y)}")
        else:
            fit_rows(loss, &job)
        job.weighs = job.kernel.weigh_f64 != NULL
        sample_axes = job.z.ndim - (job.kernel.outputs != 1)
        job.weight = NULL
        if sample_weight is not None:
            job.weight = take(&arguments, sample_weight, "sample_weight")
            fit_weight(job.weight, job.z, sample_axes)
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
            if job.kernel.outputs == 1:
                value = allocate(&arguments, dtype)
            else:
                value = np.empty([job.z.shape[i] for i in range(sample_axes)], dtype)
            job.value = take_output(&arguments, value, "value", NULL, job.single)

        job.transposed = (
            job.kernel.outputs == 1 and job.z.ndim > 1 and not job.z.contiguous and is_contiguous(job.z, True))
        for i in range(arguments.held):
            if job.transposed:
                transpose(&arguments.arrays[i])
            arguments.arrays[i].direct = (
                arguments.arrays[i].contiguous and arguments.arrays[i].dtype == (FLOAT32 if job.single else FLOAT64))
        if job.gradient != NULL and loss.rereads and overlap(job.gradient, job.z):
            job.gradient.direct = False
        if job.gradient != NULL and job.label_width != 1 and overlap(job.gradient, job.y):
            job.gradient.direct = False  # a kernel reads a row of labels again after it began to write its gradient
        if job.hessian != NULL and job.kernel.outputs != 1 and (
                overlap(job.hessian, job.z) or overlap(job.hessian, job.y)):
            job.hessian.direct = False  # nor must it be in the place of what the gradient is made of
        job.stream_gradient = (
            loss.streams and job.gradient != NULL and job.gradient.direct
            and job.n * (4 if job.single else 8) >= STREAM_BYTES
            and not overlap(job.gradient, job.z) and not overlap(job.gradient, job.y))
        cut(&job, threads)
        with nogil:
            job.scale = 1
            total = <double>job.n
            if reduction == MEAN:
                if job.weight != NULL or job.weighs:
                    total = run(&job, weigh_chunk, &status)
                # Without any weight the gradient is 0, whatever the scale.
                job.scale = 1 / total if total > 0 else 0
            if status == 0:
                sum = run(&job, run_chunk, &status)
        if status & OUT_OF_MEMORY:
            raise MemoryError()
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
    if status == FASTLOSS_RAISED:
        return refuse_raised(loss, job)
    if status & FASTLOSS_BAD_WEIGHT:
        name, domain, array = "sample_weight", "finite numbers >= 0", job.weight
    elif status & FASTLOSS_BAD_LABEL:
        name, domain, array = "y_true", loss.label_domain, job.y
        if job.label_width > 1:
            domain = "probabilities in [0, 1], or class indices of shape y_pred.shape[:-1]"
    else:
        name, domain, array = "y_pred", loss.prediction_domain, job.z
    status = FASTLOSS_BAD_WEIGHT if name == "sample_weight" else (
        FASTLOSS_BAD_LABEL if name == "y_true" else FASTLOSS_BAD_PREDICTION)
    place = ""
    if job.gradient == NULL or not overlap(job.gradient, array):
        place = locate(job, status, array)
    raise DomainError(f"{name} must hold {domain}{place}")


cdef int refuse_raised(BlockLoss loss, const Job *job) except -1:
    """Raise the exception of the first sample for which a user's function raises."""
    if job.gradient != NULL and (overlap(job.gradient, job.z) or overlap(job.gradient, job.y)):
        raise LostSampleError(
            f"{loss!r} raised an exception, for a sample that its gradient replaced: without out= it says for which")
    cdef int64_t i = first_fault(job, FASTLOSS_RAISED)
    if i == job.n:
        raise RuntimeError(f"{loss!r} raised an exception, but not when asked again")
    label = [element(job.y, job.single, j) for j in range(i * job.label_width, (i + 1) * job.label_width)]
    row = [element(job.z, job.single, j) for j in range(i * job.k, (i + 1) * job.k)]
    dtype = np.float32 if job.single else np.float64
    loss._reraise(
        np.array(label, dtype) if job.label_width > 1 else label[0],
        np.array(row, dtype) if job.kernel.outputs != 1 else row[0], position(job.z, i * job.k, job.transposed))
    return -1


cdef int64_t first_fault(const Job *job, int32_t wanted):
    """The first sample with which the kernel finds fault; the number of samples if there is none."""
    cdef Job probe = job[0]
    cdef int64_t i = 0
    cdef int32_t status = 0
    probe.value = probe.gradient = probe.hessian = NULL
    probe.stream_gradient = False
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


cdef str locate(const Job *job, int32_t wanted, const Array *array):
    """Where the kernel first finds fault, in words."""
    cdef int64_t i = first_fault(job, wanted), first, width = 1
    cdef double x
    if i == job.n:
        return ""
    if array == job.z:
        width = job.k
    elif array == job.y:
        width = job.label_width
    first = i * width
    x = element(array, job.single, first)
    if width > 1:  # of a row of probabilities, the first that is none; predictions may be NaN
        for i in range(first, first + width):
            x = element(array, job.single, i)
            if not (0 <= x <= 1) and (array == job.y or x == x):
                first = i
                break
    return f"; got {x:g}{position(array, first, job.transposed)}"


cdef double element(const Array *array, bint single, int64_t i) noexcept nogil:
    cdef double number
    cdef const void *found = load(array, single, i, 1, &number)
    return (<const float *>found)[0] if single else (<const double *>found)[0]


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
