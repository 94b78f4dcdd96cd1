# The C interface of a loss, for `cimport fastloss`; simd/kernel.h says what each part means. Compile with
# include_dirs=[fastloss.get_include()] and cythonize with include_path=[fastloss.get_include()].
#
# The modules of the package itself have the same struct from _runtime.pxd, by a path that suits its own build.

from libc.stdint cimport int32_t, int64_t


cdef extern from "fastloss/simd/kernel.h" nogil:
    enum:
        FASTLOSS_KERNEL_VERSION
        FASTLOSS_BAD_LABEL
        FASTLOSS_BAD_PREDICTION
        FASTLOSS_BAD_WEIGHT
        FASTLOSS_RAISED
        FASTLOSS_GOES_ON
        FASTLOSS_PAST_CACHES
    ctypedef double (*fastloss_block_f32)(
        const double *params, int64_t n, int64_t k, const float *y, const float *z, const float *weight,
        double scale, float *value, float *gradient, float *hessian, int32_t *status) noexcept nogil
    ctypedef double (*fastloss_block_f64)(
        const double *params, int64_t n, int64_t k, const double *y, const double *z, const double *weight,
        double scale, double *value, double *gradient, double *hessian, int32_t *status) noexcept nogil
    ctypedef double (*fastloss_weigh_f32)(
        const double *params, int64_t n, int64_t k, const float *y, const float *weight,
        int32_t *status) noexcept nogil
    ctypedef double (*fastloss_weigh_f64)(
        const double *params, int64_t n, int64_t k, const double *y, const double *weight,
        int32_t *status) noexcept nogil
    ctypedef struct fastloss_kernel:
        int32_t version
        int32_t label_width
        int64_t outputs
        int64_t n_params
        const double *params
        fastloss_block_f32 f32
        fastloss_block_f64 f64
        fastloss_weigh_f32 weigh_f32
        fastloss_weigh_f64 weigh_f64


cdef inline const fastloss_kernel *kernel_of(object loss) except NULL:
    """The kernel of a loss, valid while that object lives; with the GIL."""
    cdef const fastloss_kernel *kernel = <const fastloss_kernel *><size_t>loss.kernel_address
    if kernel.version != FASTLOSS_KERNEL_VERSION:
        raise ImportError(
            f"fastloss has kernels of version {kernel.version}, this module was compiled for those of version "
            f"{FASTLOSS_KERNEL_VERSION}: compile it again")
    if kernel.f64 == NULL:
        raise TypeError(f"{loss!r} has no kernel")
    return kernel


# For losses of one output: returns the sum of the losses of n samples and writes its derivatives, times `scale` (1 / n
# for those of the mean). `gradient` may be NULL, z or y. Sets bits of *status, which the caller cleared.

cdef inline double value_and_gradient_f32(
        const fastloss_kernel *kernel, int64_t n, const float *y, const float *z, double scale, float *gradient,
        int32_t *status) noexcept nogil:
    return kernel.f32(kernel.params, n, 1, y, z, NULL, scale, NULL, gradient, NULL, status)


cdef inline double value_and_gradient_f64(
        const fastloss_kernel *kernel, int64_t n, const double *y, const double *z, double scale, double *gradient,
        int32_t *status) noexcept nogil:
    return kernel.f64(kernel.params, n, 1, y, z, NULL, scale, NULL, gradient, NULL, status)
