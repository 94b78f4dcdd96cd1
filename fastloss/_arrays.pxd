"""NumPy arrays seen from C: any layout, read and written in blocks."""

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
    bint contiguous  # native, aligned, C-ordered
    Py_ssize_t[MAX_NDIM] shape
    Py_ssize_t[MAX_NDIM] strides

cdef bint view(object x, Py_buffer *buffer, Array *array) except -1
cdef void transpose(Array *array) noexcept nogil
cdef bint is_contiguous(const Array *array, bint fortran) noexcept nogil
cdef const void *load(const Array *array, bint single, int64_t start, int64_t count, void *scratch) noexcept nogil
cdef void store(const Array *array, bint single, int64_t start, int64_t count, const void *src) noexcept nogil
cdef bint overlap(const Array *a, const Array *b) noexcept nogil
cdef bint same_memory(const Array *a, const Array *b) noexcept nogil
