/* The interface between a loss and everything that uses one: C, versioned, public.
 *
 * A block kernel takes a contiguous block of n samples and returns their weighted loss
 *     sum_i weight[i] * loss(y[i], z[i])
 * accumulated in double, whatever the dtype of the arrays. Where the pointers are not NULL it also writes
 *     value[i]    = weight[i] * loss(y[i], z[i])
 *     gradient[i] = scale * weight[i] * d loss / dz
 *     hessian[i]  = scale * weight[i] * d^2 loss / dz^2 (its diagonal, where a sample has several outputs)
 * n is the number of samples and k the number of outputs of each: z, gradient and hessian hold n * k numbers in C
 * order; value and weight hold n; y holds n or n * k, as `label_width` of the kernel says. weight may be NULL (all 1).
 * A sample of weight 0 contributes exactly 0 to everything, even where its loss is not finite. gradient may be z itself
 * (in place; not for a loss of several outputs that a user wrote), and y where each sample has one number of either;
 * otherwise no two arrays overlap. Arguments outside the
 * domain set bits of *status and never make the kernel read or write elsewhere. A kernel never blocks, allocates or
 * throws. The caller cleared *status, but for bits that it may have set, and that a kernel may ignore: FASTLOSS_GOES_ON
 * says that the numbers right behind those of y and z come from memory and are next, so that a kernel may ask for them
 * ahead; FASTLOSS_PAST_CACHES that no cache will hold the gradient, so that it may be written past them.
 *
 * What a mean divides by is the sum of weight[i], or n without weights; unless the loss weighs its labels too, or
 * leaves some of them out: then `weigh` returns the sum.
 */
#ifndef FASTLOSS_KERNEL_H
#define FASTLOSS_KERNEL_H
#include <stdint.h>

#define FASTLOSS_KERNEL_VERSION 1

/* Bits of the status. FASTLOSS_RAISED: a loss of a user's own raised an exception for a sample. */
enum {
    FASTLOSS_BAD_LABEL = 1,
    FASTLOSS_BAD_PREDICTION = 2,
    FASTLOSS_BAD_WEIGHT = 4,
    FASTLOSS_RAISED = 8,
    FASTLOSS_GOES_ON = 1 << 16,
    FASTLOSS_PAST_CACHES = 1 << 17
};

typedef double (*fastloss_block_f32)(const double* params, int64_t n, int64_t k, const float* y, const float* z,
                                     const float* weight, double scale, float* value, float* gradient, float* hessian,
                                     int32_t* status);
typedef double (*fastloss_block_f64)(const double* params, int64_t n, int64_t k, const double* y, const double* z,
                                     const double* weight, double scale, double* value, double* gradient,
                                     double* hessian, int32_t* status);

typedef double (*fastloss_weigh_f32)(const double* params, int64_t n, int64_t k, const float* y, const float* weight,
                                     int32_t* status);
typedef double (*fastloss_weigh_f64)(const double* params, int64_t n, int64_t k, const double* y, const double* weight,
                                     int32_t* status);

typedef struct {
    int32_t version;     /* FASTLOSS_KERNEL_VERSION */
    int32_t label_width; /* numbers of y a sample: 1, or 0 for k of them */
    int64_t outputs;     /* numbers of z a sample: 1, or 0 for any k */
    int64_t n_params;
    const double* params; /* handed to the block functions; they outlive the kernel */
    fastloss_block_f32 f32;
    fastloss_block_f64 f64;
    fastloss_weigh_f32 weigh_f32; /* or NULL, both */
    fastloss_weigh_f64 weigh_f64;
} fastloss_kernel;

#endif
