from libc.stdint cimport int32_t, int64_t

from fastloss._arrays cimport Array
from fastloss._runtime cimport fastloss_kernel

cdef enum:
    STREAM_BYTES = 32 << 20  # an output this large leaves the caches before anybody reads it
    OUT_OF_MEMORY = 1 << 20  # a bit of the status

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
    bint stream_gradient  # the gradient goes past the caches
    bint kernel_streams  # the kernel itself writes it there
    bint from_memory  # no cache holds the inputs: they are asked for before they are read
    bint kernel_asks  # by the kernel itself, where it reads them in place
    bint weighs  # whether the kernel itself says what a mean divides by
    bint transposed  # all arrays are Fortran-ordered and seen as their transposes
    int64_t block  # samples a kernel call
    int64_t slot  # doubles of scratch for each array


cdef void cut(Job *job, int threads) noexcept nogil
cdef double sum_losses(const Job *job, int32_t *status) noexcept nogil
cdef double sum_weights(const Job *job, int32_t *status) noexcept nogil
cdef int64_t first_fault(const Job *job, int32_t wanted)
