"""NumPy arrays seen from C: any layout, read and written in blocks."""

from cpython.buffer cimport PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t

cdef enum:
    MAX_NDIM = 64
    BLOCK = 512  # numbers that pass through a kernel at a time: six such arrays of doubles fit the L1 cache
    FLOAT32 = 0  # the first two of FASTLOSS_DTYPES
    FLOAT64 = 1

cdef struct Array:
    char *data
    int dtype  # index in FASTLOSS_DTYPES
    int ndim
    int64_t size
    bint contiguous  # aligned and C-ordered
    bint direct  # that, and of the dtype in which is computed: set by who knows it
    Py_ssize_t[MAX_NDIM] shape
    Py_ssize_t[MAX_NDIM] strides

cdef bint view(object x, Py_buffer *buffer, Array *array) except -1
cdef void transpose(Array *array) noexcept nogil
cdef bint is_contiguous(const Array *array, bint fortran) noexcept nogil
cdef void gather(const Array *array, bint single, int64_t start, int64_t count, void *out) noexcept nogil
cdef void store(const Array *array, bint single, int64_t start, int64_t count, const void *src) noexcept nogil
cdef bint overlap(const Array *a, const Array *b) noexcept nogil
cdef bint same_memory(const Array *a, const Array *b) noexcept nogil


cdef inline Py_ssize_t itemsize(int dtype) noexcept nogil:
    return 4 if dtype == FLOAT32 else 8 if dtype == FLOAT64 else 1 << ((dtype - 2) & 3)


cdef inline const void *load(const Array *array, bint single, int64_t start, int64_t count,
                             void *scratch) noexcept nogil:
    """Elements start to start + count in C order, as contiguous float32 or float64: in place, or copied to scratch."""
    if array.direct:
        return array.data + start * (4 if single else 8)
    gather(array, single, start, count, scratch)
    return scratch


cdef inline char *address(x) except? NULL:
    """Where the numbers of an array are that lives as long as they are used; NULL for None."""
    cdef Py_buffer buffer
    if x is None:
        return NULL
    PyObject_GetBuffer(x, &buffer, PyBUF_STRIDES)
    PyBuffer_Release(&buffer)
    return <char *>buffer.buf
