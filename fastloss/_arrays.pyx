"""NumPy arrays seen from C: any layout, read and written in blocks."""

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer

from fastloss._runtime cimport table

import numpy as np

cdef type ndarray = np.ndarray


# DLPack's numbers for memory that the CPU reads: its own, and pinned or managed by a GPU's driver.
cdef tuple HOST = (1, 3, 11, 13)


def as_numpy(x, str name):
    """An array of another library as NumPy views it; all else as it is. TypeError, naming the argument, off the CPU."""
    if isinstance(x, np.ndarray) or not hasattr(x, "__dlpack__"):
        return x
    if getattr(x, "requires_grad", False):  # PyTorch's: it would not leave its graph unasked
        x = x.detach()
    try:
        device = x.__dlpack_device__()
    except (ValueError, BufferError) as error:
        raise TypeError(f"{name} must be on the CPU: {error}") from error
    if device[0] not in HOST:
        raise TypeError(
            f"{name} must be on the CPU, got a {type(x).__name__} on DLPack device {tuple(device)}: copy it first")
    return np.asarray(x) if hasattr(x, "__array__") else np.from_dlpack(x)


def as_real_array(x, str name):
    """`x` as an array of a dtype that kernels read: converted only where they cannot.

    Raises TypeError, naming the argument, for what does not hold real numbers.
    """
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} must not be a masked array: give masked samples the weight 0")
    x = as_numpy(x, name)
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of numbers: {error}") from error
    kind = array.dtype.kind
    if kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if kind == "f" and array.dtype.itemsize not in (4, 8):
        array = array.astype(np.float64)
    # A view of the base class, in native byte order: what C reads.
    return np.asarray(array, dtype=array.dtype.newbyteorder("="))


cdef int dtype_code(const char *format, Py_ssize_t itemsize) noexcept nogil:
    """The dtype's index in FASTLOSS_DTYPES, or -1."""
    cdef int log2 = 0 if itemsize == 1 else 1 if itemsize == 2 else 2 if itemsize == 4 else 3
    if format[0] in (b"@", b"=", b"^"):
        format += 1
    if format[0] == 0 or format[1] != 0:
        return -1
    if format[0] == b"f":
        return FLOAT32
    if format[0] == b"d":
        return FLOAT64
    if format[0] in (b"b", b"h", b"i", b"l", b"q", b"n"):
        return 2 + log2
    if format[0] in (b"?", b"B", b"H", b"I", b"L", b"Q", b"N"):
        return 6 + log2
    return -1


cdef bint view(object x, Py_buffer *buffer, Array *array) except -1:
    """Fill `array` from the ndarray `x`; False, holding nothing, if C cannot read it as it is."""
    if type(x) is not ndarray:  # a subclass may mean something else by what it holds
        return False
    try:
        PyObject_GetBuffer(x, buffer, PyBUF_STRIDES | PyBUF_FORMAT)
    except (ValueError, BufferError):  # datetime64 and other dtypes without a format
        return False
    array.dtype = dtype_code(buffer.format, buffer.itemsize)
    if array.dtype < 0:
        PyBuffer_Release(buffer)
        return False
    array.data = <char *>buffer.buf
    array.ndim = buffer.ndim
    array.size = 1
    cdef int axis
    for axis in range(buffer.ndim):
        array.shape[axis] = buffer.shape[axis]
        array.strides[axis] = buffer.strides[axis]
        array.size *= buffer.shape[axis]
    array.contiguous = is_contiguous(array, False)
    array.direct = False
    return True


cdef bint is_contiguous(const Array *array, bint fortran) noexcept nogil:
    cdef Py_ssize_t expected = itemsize(array.dtype)
    cdef int i, axis
    if <Py_ssize_t>array.data % expected:
        return False
    for i in range(array.ndim):
        axis = i if fortran else array.ndim - 1 - i
        if array.shape[axis] != 1 and array.strides[axis] != expected:
            return False
        expected *= array.shape[axis]
    return True


cdef void transpose(Array *array) noexcept nogil:
    """Reverse the order of the axes."""
    cdef int i, j
    cdef Py_ssize_t swap
    for i in range(array.ndim // 2):
        j = array.ndim - 1 - i
        swap = array.shape[i]
        array.shape[i] = array.shape[j]
        array.shape[j] = swap
        swap = array.strides[i]
        array.strides[i] = array.strides[j]
        array.strides[j] = swap
    array.contiguous = is_contiguous(array, False)


cdef void gather(const Array *array, bint single, int64_t start, int64_t count, void *out) noexcept nogil:
    """Copy elements start to start + count in C order to contiguous float32 or float64."""
    if single:
        table().f32.gather[array.dtype](
            array.data, array.ndim, array.shape, array.strides, start, count, <float *>out)
    else:
        table().f64.gather[array.dtype](
            array.data, array.ndim, array.shape, array.strides, start, count, <double *>out)


cdef void store(const Array *array, bint single, int64_t start, int64_t count, const void *src) noexcept nogil:
    if single:
        table().f32.scatter(<const float *>src, array.data, array.ndim, array.shape, array.strides, start, count)
    else:
        table().f64.scatter(<const double *>src, array.data, array.ndim, array.shape, array.strides, start, count)


cdef void bounds(const Array *array, char **low, char **high) noexcept nogil:
    cdef int axis
    low[0] = array.data
    high[0] = array.data + itemsize(array.dtype)
    for axis in range(array.ndim):
        if array.strides[axis] < 0:
            low[0] += (array.shape[axis] - 1) * array.strides[axis]
        else:
            high[0] += (array.shape[axis] - 1) * array.strides[axis]


cdef bint overlap(const Array *a, const Array *b) noexcept nogil:
    """Whether the memory between first and last element of the two has a byte in common."""
    cdef char *a_low
    cdef char *a_high
    cdef char *b_low
    cdef char *b_high
    if a.size == 0 or b.size == 0:
        return False
    bounds(a, &a_low, &a_high)
    bounds(b, &b_low, &b_high)
    return a_low < b_high and b_low < a_high


cdef bint same_memory(const Array *a, const Array *b) noexcept nogil:
    """Whether the two are the same elements in the same places."""
    cdef int axis
    if a.data != b.data or a.dtype != b.dtype or a.ndim != b.ndim:
        return False
    for axis in range(a.ndim):
        if a.shape[axis] != b.shape[axis] or (a.shape[axis] > 1 and a.strides[axis] != b.strides[axis]):
            return False
    return True
