// Runs a loss struct over one block of samples: the block functions of kernel.h.
#pragma once
#include <cstddef>
#include <type_traits>
#include <utility>

#include "kernel.h"
#include "losses.hpp"

namespace fastloss {

// The optional members of a loss (see losses.hpp): how many numbers it prepares, and whether it has Hard.
template <class Loss, class = void>
struct prepared_numbers : std::integral_constant<int, 0> {};
template <class Loss>
struct prepared_numbers<Loss, std::void_t<decltype(Loss::prepared)>> : std::integral_constant<int, Loss::prepared> {};
template <class Loss, class T, class = void>
struct checks_labels : std::false_type {};
template <class Loss, class T>
struct checks_labels<Loss, T, std::void_t<decltype(std::declval<Loss>().label_ok(T()))>> : std::true_type {};
template <class Loss, class T, class = void>
struct checks_predictions : std::false_type {};
template <class Loss, class T>
struct checks_predictions<Loss, T, std::void_t<decltype(std::declval<Loss>().prediction_ok(T()))>> : std::true_type {};
template <class Loss, class = void>
struct goes_by_registers : std::false_type {};
template <class Loss>
struct goes_by_registers<Loss, std::void_t<decltype(&Loss::template each<int>)>> : std::true_type {};
template <class Loss, class = void>
struct has_hard : std::false_type {};
template <class Loss>
struct has_hard<Loss, std::void_t<typename Loss::Hard>> : std::true_type {};

// Whether moving the numbers takes longer than the arithmetic. Only then do streamed stores pay: they save traffic, but
// nothing is computed while they drain. n = 10^7, float64, streamed against ordinary, in ms, squared error, Poisson and
// binary cross-entropy: 7.4 and 8.6, 16.4 and 14.3, 25.3 and 22.2 on Zen 3 (AVX2); 5.4 and 6.8, 4.9 and 5.8, 6.3 and
// 6.4 on Zen 5 (AVX-512).
template <class Loss>
constexpr bool bound_by_memory() {
#if defined(__AVX512F__)
    return true;
#else
    return prepared_numbers<Loss>::value == 0 && !has_hard<Loss>::value;
#endif
}

template <class T>
static bool all_hard(int64_t n, const T* y) {
    // y - y^2 is 0 for 0 and 1 alone, also when rounded. Bits are gathered faster than comparisons are counted.
    using Bits = typename vmath::Constants<T>::Unsigned;
    Bits others = 0;
#pragma omp simd reduction(| : others)
    for (int64_t i = 0; i < n; ++i) others |= vmath::bit_cast<Bits>(y[i] - y[i] * y[i]);
    return others == 0;
}

template <class T>
FASTLOSS_INLINE bool weight_ok(T w) {
    return w >= 0 && w < std::numeric_limits<T>::infinity();
}

// loss.at of a sample, with what has been prepared for it.
template <class Loss, class T, int... number>
FASTLOSS_INLINE Point<T> at(const Loss& loss, T y, T z, const T (*prepared)[prepared_stride], int64_t i,
                            std::integer_sequence<int, number...>) {
    return loss.at(y, z, prepared[number][i]...);
}

// Sums run in the SIMD lanes that the compiler chooses: their order depends on n and the instruction set alone.
template <class T, class Loss, bool weighted, bool values, bool gradients, bool hessians>
static double run_block(const double* params, int64_t n, const T* y, const T* z, const T* weight, double scale,
                        T* value, T* gradient, T* hessian, int32_t* status) {
    constexpr int prepared = prepared_numbers<Loss>::value;
    constexpr int64_t at_once = prepared_at_once;
    const bool goes_on = *status & FASTLOSS_GOES_ON;
    const Loss loss(params);
    double sum = 0;
    // Counted in T: SSE2 has no select between 64-bit integers, and a type of T's width shares its lanes.
    T bad_labels = 0, bad_predictions = 0, bad_weights = 0;
    for (int64_t start = 0; start < n; start += at_once) {
        const int64_t stop = n - start < at_once ? n : start + at_once;
        T found[prepared ? prepared : 1][prepared_stride];
        if constexpr (prepared > 0) {
            vmath::Next<T> next;
            if (goes_on) next = {y + stop, z + stop};
            loss.template prepare<gradients || hessians>(stop - start, y + start, z + start, next, found);
        }
#pragma omp simd reduction(+ : sum, bad_labels, bad_predictions, bad_weights)
        for (int64_t i = start; i < stop; ++i) {
            const T yi = y[i], zi = z[i];
            // Initialised at once: assigned to, gcc moves two floats as one 8-byte number and then cannot vectorise.
            const Point<T> point = at(loss, yi, zi, found, i - start, std::make_integer_sequence<int, prepared>());
            double v = point.value;
            T factor = T(scale);
            bool keep = true;
            if (weighted) {
                const T w = weight[i];
                bad_weights += weight_ok(w) ? T(0) : T(1);
                keep = !(w == 0);  // a select, not a product: 0 * inf must be 0
                v = keep ? v * double(w) : 0.0;
                factor = T(double(w) * scale);  // neither need be in the range of float, the product is
            }
            if constexpr (checks_labels<Loss, T>::value) bad_labels += !keep || loss.label_ok(yi) ? T(0) : T(1);
            if constexpr (checks_predictions<Loss, T>::value)
                bad_predictions += !keep || loss.prediction_ok(zi) ? T(0) : T(1);
            sum += v;
            if (values) value[i] = T(v);
            if (gradients) gradient[i] = keep ? factor * point.gradient : T(0);
            if (hessians) hessian[i] = keep ? factor * point.hessian : T(0);
        }
    }
    *status |= (bad_labels > 0 ? FASTLOSS_BAD_LABEL : 0) | (bad_predictions > 0 ? FASTLOSS_BAD_PREDICTION : 0) |
               (bad_weights > 0 ? FASTLOSS_BAD_WEIGHT : 0);
    return sum;
}

#if FASTLOSS_WIDE
// The plain case, for losses that can go by registers: what they prepare is used at once. Sums are in the same order
// with and without the gradient.
template <class T, class Loss, bool gradients>
static double run_wide(const double* params, int64_t n, const T* y, const T* z, const T*, double scale, T*, T* gradient,
                       T*, int32_t* status) {
    const bool goes_on = *status & FASTLOSS_GOES_ON;
    const Loss loss(params);
    const T factor = T(scale);
    vmath::WideSum<T> sum;
    for (int64_t start = 0; start < n; start += prepared_at_once) {
        const int64_t stop = n - start < prepared_at_once ? n : start + prepared_at_once;
        vmath::Next<T> next;
        if (goes_on) next = {y + stop, z + stop};
        loss.each(stop - start, y + start, z + start, next, [&](auto place, auto point) {
            sum.add(place.keep(point.value));
            if (gradients) place.store(gradient + start, factor * point.gradient);
        });
    }
    return sum.total();
}
#endif

template <class T, class Loss, bool weighted>
static double choose_outputs(const double* params, int64_t n, const T* y, const T* z, const T* weight, double scale,
                             T* value, T* gradient, T* hessian, int32_t* status) {
    const auto run = [&](auto block) {
        return block(params, n, y, z, weight, scale, value, gradient, hessian, status);
    };
#if FASTLOSS_WIDE
    if constexpr (goes_by_registers<Loss>::value && !weighted) {
        if (!value && !hessian) return gradient ? run(run_wide<T, Loss, true>) : run(run_wide<T, Loss, false>);
    }
#endif
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

// The block function of a loss with one output a sample.
template <class T, class Loss>
static double scalar_block(const double* params, int64_t n, int64_t k, const T* y, const T* z, const T* weight,
                           double scale, T* value, T* gradient, T* hessian, int32_t* status) {
    if (hessian && !gradient) {  // rarely asked for: no loop of its own, the gradient goes to a spare block
        constexpr int64_t at_once = 512;
        T spare[at_once];
        double sum = 0;
        for (int64_t i = 0; i < n; i += at_once)
            sum += scalar_block<T, Loss>(params, n - i < at_once ? n - i : at_once, k, y + i, z + i,
                                         weight ? weight + i : nullptr, scale, value ? value + i : nullptr, spare,
                                         hessian + i, status);
        return sum;
    }
    if constexpr (has_hard<Loss>::value) {
        if (Loss::is_hard(params) && all_hard(n, y))
            return scalar_block<T, typename Loss::Hard>(params, n, k, y, z, weight, scale, value, gradient, hessian,
                                                        status);
    }
    if (weight) return choose_outputs<T, Loss, true>(params, n, y, z, weight, scale, value, gradient, hessian, status);
    return choose_outputs<T, Loss, false>(params, n, y, z, nullptr, scale, value, gradient, hessian, status);
}

// The sum of n weights, and whether all are finite and >= 0.
template <class T>
static double sum_weights(int64_t n, const T* weight, int32_t* status) {
    double sum = 0;
    T bad = 0;
#pragma omp simd reduction(+ : sum, bad)
    for (int64_t i = 0; i < n; ++i) {
        const T w = weight[i];
        bad += weight_ok(w) ? T(0) : T(1);
        sum += double(w);
    }
    *status |= bad > 0 ? FASTLOSS_BAD_WEIGHT : 0;
    return sum;
}

}  // namespace fastloss
