// Runs a loss struct over one block of samples: the block functions of kernel.h.
#pragma once
#include <cstddef>
#include <type_traits>
#include <utility>

#include "kernel.h"
#include "losses.hpp"

namespace fastloss {

// Whether a loss has the optional members prepare and Plain (see losses.hpp).
template <class Loss, class T, class = void>
struct has_prepare : std::false_type {};
template <class Loss, class T>
struct has_prepare<Loss, T, std::void_t<decltype(std::declval<Loss>().prepare(T()))>> : std::true_type {};
template <class Loss, class = void>
struct plain_form {
    using type = Loss;
};
template <class Loss>
struct plain_form<Loss, std::void_t<typename Loss::Plain>> {
    using type = typename Loss::Plain;
};

// Sums run in the SIMD lanes that the compiler chooses: their order depends on n and the instruction set alone.
template <class T, class Loss, bool weighted, bool values, bool gradients, bool hessians>
static double run_block(const double* params, int64_t n, const T* y, const T* z, const T* weight, T scale, T* value,
                        T* gradient, T* hessian, int32_t* status) {
    using Int = typename vmath::Constants<T>::Int;  // a mask as wide as T, so that it shares T's lanes
    constexpr Int bad_label = FASTLOSS_BAD_LABEL, bad_prediction = FASTLOSS_BAD_PREDICTION;
    constexpr Int bad_weight = FASTLOSS_BAD_WEIGHT;
    constexpr bool prepares = has_prepare<Loss, T>::value;
    constexpr int64_t at_once = 512;
    const Loss loss(params);
    double sum = 0;
    Int bad = 0;
    for (int64_t start = 0; start < n; start += at_once) {
        const int64_t stop = n - start < at_once ? n : start + at_once;
        T prepared[prepares ? at_once : 1];
        if constexpr (prepares) {
#pragma omp simd
            for (int64_t i = start; i < stop; ++i) prepared[i - start] = loss.prepare(z[i]);
        }
#pragma omp simd reduction(+ : sum) reduction(| : bad)
        for (int64_t i = start; i < stop; ++i) {
            const T yi = y[i], zi = z[i];
            Point<T> point;
            if constexpr (prepares)
                point = loss.at(yi, zi, prepared[i - start]);
            else
                point = loss.at(yi, zi);
            Int flags = (loss.label_ok(yi) ? Int(0) : bad_label) | (loss.prediction_ok(zi) ? Int(0) : bad_prediction);
            double v = point.value;
            T factor = scale;
            bool keep = true;
            if (weighted) {
                const T w = weight[i];
                const bool good = w >= 0 && w < std::numeric_limits<T>::infinity();
                keep = !(w == 0);  // a select, not a product: 0 * inf must be 0
                v = keep ? v * double(w) : 0.0;
                factor = w * scale;
                flags = good ? (keep ? flags : Int(0)) : bad_weight;
            }
            bad |= flags;
            sum += v;
            if (values) value[i] = T(v);
            if (gradients) gradient[i] = keep ? factor * point.gradient : T(0);
            if (hessians) hessian[i] = keep ? factor * point.hessian : T(0);
        }
    }
    *status |= int32_t(bad);
    return sum;
}

template <class T, class Loss, bool weighted>
static double choose_outputs(const double* params, int64_t n, const T* y, const T* z, const T* weight, T scale,
                             T* value, T* gradient, T* hessian, int32_t* status) {
    const auto run = [&](auto block) {
        return block(params, n, y, z, weight, scale, value, gradient, hessian, status);
    };
    if (hessian) {
        if (value) return run(run_block<T, Loss, weighted, true, true, true>);
        return run(run_block<T, Loss, weighted, false, true, true>);
    }
    if (gradient) {
        if (value) return run(run_block<T, Loss, weighted, true, true, false>);
        return run(run_block<T, Loss, weighted, false, true, false>);
    }
    if (value) return run(run_block<T, Loss, weighted, true, false, false>);
    return run(run_block<T, Loss, weighted, false, false, false>);
}

// The block function of a loss with one output a sample. A hessian is always asked for together with a gradient.
template <class T, class Loss>
static double scalar_block(const double* params, int64_t n, int64_t k, const T* y, const T* z, const T* weight,
                           double scale, T* value, T* gradient, T* hessian, int32_t* status) {
    using Plain = typename plain_form<Loss>::type;
    if constexpr (!std::is_same_v<Plain, Loss>) {
        if (Loss::is_plain(params))
            return scalar_block<T, Plain>(params, n, k, y, z, weight, scale, value, gradient, hessian, status);
    }
    if (weight)
        return choose_outputs<T, Loss, true>(params, n, y, z, weight, T(scale), value, gradient, hessian, status);
    return choose_outputs<T, Loss, false>(params, n, y, z, nullptr, T(scale), value, gradient, hessian, status);
}

// The sum of n weights, and whether all are finite and >= 0.
template <class T>
static double sum_weights(int64_t n, const T* weight, int32_t* status) {
    double sum = 0;
    using Int = typename vmath::Constants<T>::Int;
    constexpr Int bad_weight = FASTLOSS_BAD_WEIGHT;
    Int bad = 0;
#pragma omp simd reduction(+ : sum) reduction(| : bad)
    for (int64_t i = 0; i < n; ++i) {
        const T w = weight[i];
        bad |= w >= 0 && w < std::numeric_limits<T>::infinity() ? Int(0) : bad_weight;
        sum += double(w);
    }
    *status |= int32_t(bad);
    return sum;
}

}  // namespace fastloss
