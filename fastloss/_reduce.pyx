"""Losses over arrays: what users give is seen as it is where kernels can read it, checked, run through _blocks."""

from cpython.buffer cimport PyBuffer_Release
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc

from fastloss._arrays cimport (
    FLOAT32, FLOAT64, Array, is_contiguous, load, overlap, same_memory, transpose, view)
from fastloss._blocks cimport OUT_OF_MEMORY, STREAM_BYTES, Job, cut, first_fault, sum_losses, sum_weights
from fastloss._runtime cimport (
    FASTLOSS_BAD_LABEL, FASTLOSS_BAD_PREDICTION, FASTLOSS_BAD_WEIGHT, FASTLOSS_KERNEL_VERSION, FASTLOSS_RAISED,
    LossEntry, fastloss_block_f32, fastloss_block_f64, fastloss_kernel, resolve_threads, table)

import numpy as np

from fastloss._arrays import as_real_array

cdef type ndarray = np.ndarray
cdef object empty_like = np.empty_like
cdef object float32 = np.dtype(np.float32), float64 = np.dtype(np.float64)

cdef enum:
    LARGEST_INDEX = 1 << 24  # float32 holds all integers up to it

cdef enum Reduction:
    NONE
    SUM
    MEAN


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
        self.streams, self.asks, self.goes_past = entry.streams, entry.asks, entry.goes_past
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
        self.streams = not many_outputs and entry_of("poisson").streams  # as a loss with one exponential
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
        job.kernel_asks = loss.asks
        job.kernel_streams = loss.goes_past
        cut(&job, threads)
        with nogil:
            job.scale = 1
            total = <double>job.n
            if reduction == MEAN:
                if job.weight != NULL or job.weighs:
                    total = sum_weights(&job, &status)
                # Without any weight the gradient is 0, whatever the scale.
                job.scale = 1 / total if total > 0 else 0
            if status == 0:
                sum = sum_losses(&job, &status)
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
