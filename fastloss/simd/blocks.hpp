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
struct goes_by_registers<Loss, std::void_t<decltype(Loss::by_registers)>> : std::bool_constant<Loss::by_registers> {};
template <class Loss, class = void>
struct has_summed : std::false_type {};
template <class Loss>
struct has_summed<Loss, std::void_t<typename Loss::Summed>> : std::true_type {};
template <class Loss, class = void>
struct leaves_rest : std::false_type {};
template <class Loss>
struct leaves_rest<Loss, std::void_t<decltype(&Loss::rest)>> : std::true_type {};
template <class Loss, class = void>
struct has_hard : std::false_type {};
template <class Loss>
struct has_hard<Loss, std::void_t<typename Loss::Hard>> : std::true_type {};

// Whether moving the numbers takes longer than the arithmetic. Only then do streamed stores pay: they save traffic, but
// nothing is computed while a block of them drains. n = 10^7, float64, streamed against ordinary, in ms, squared error,
// Poisson and binary cross-entropy: 7.4 and 8.6, 16.4 and 14.3, 25.3 and 22.2 on Zen 3 (AVX2); 5.4 and 6.8, 4.9
// and 5.8, 6.3 and 6.4 on Zen 5 (AVX-512).
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

// loss.at of the sample or samples at a place, with what has been prepared for them.
template <class Loss, class T, class Place, class V, int... number>
FASTLOSS_INLINE auto at(const Loss& loss, Place place, V y, V z, const T (*prepared)[prepared_stride],
                        std::integer_sequence<int, number...>) {
    return loss.at(y, z, place.load(prepared[number])...);
}

// A few lines of a gradient: while they drain, reading goes on. Squared error, n = 10^7, Zen 4, over a loop that moves
// the same numbers: 1.3 with blocks of 1 KiB, 1.1 so.
constexpr int64_t streamed_at_once = 64;  // samples

// Calls run(start, stop, at) for some samples at a time, at most as many as a loss prepares; at(place, y, z) is loss.at
// of the sample at that place of them, with what has been prepared for it. Returns what is left to add to the sum.
template <class T, class Loss, bool derivatives, class Run>
FASTLOSS_INLINE double each_block(const Loss& loss, int64_t n, const T* y, const T* z, int64_t at_once, bool goes_on,
                                  Run run) {
    constexpr int prepared = prepared_numbers<Loss>::value;
    double rest = 0;
    for (int64_t start = 0; start < n; start += at_once) {
        const int64_t stop = n - start < at_once ? n : start + at_once;
        T found[prepared ? prepared : 1][prepared_stride];
        if constexpr (prepared > 0) {
            vmath::Next<T> next;
            if (goes_on) next = {y + stop, z + stop};
            loss.template prepare<derivatives>(stop - start, y + start, z + start, next, found);
        }
        run(start, stop, [&](auto place, auto yi, auto zi) {
            return at(loss, place, yi, zi, found, std::make_integer_sequence<int, prepared>());
        });
        if constexpr (leaves_rest<Loss>::value) rest += loss.rest(stop - start, found);
    }
    return rest;
}

// What a sample adds to the sum, its derivatives, and 1 for each of its numbers that is outside its domain. Counted in
// T: SSE2 has no select between 64-bit integers, and a type of T's width shares its lanes.
template <class T>
struct Sample {
    double value;
    T gradient, hessian, bad_label, bad_prediction, bad_weight;
};

template <bool weighted, class Loss, class T>
FASTLOSS_INLINE Sample<T> weigh(const Loss& loss, const Point<T>& point, T y, T z, T w, double scale) {
    const bool gone = weighted && w == 0;  // a select, not a product: 0 * inf must be 0
    // Neither need be in the range of float, the product is.
    const T factor = weighted ? T(double(w) * scale) : T(scale);
    bool label_ok = true, prediction_ok = true;
    // Not ||, which is a branch: the whole loop would not be vectorised.
    if constexpr (checks_labels<Loss, T>::value) label_ok = gone | loss.label_ok(y);
    if constexpr (checks_predictions<Loss, T>::value) prediction_ok = gone | loss.prediction_ok(z);
    return {weighted ? (gone ? 0.0 : point.value * double(w)) : double(point.value),
            gone ? T(0) : factor * point.gradient,
            gone ? T(0) : factor * point.hessian,
            label_ok ? T(0) : T(1),
            prediction_ok ? T(0) : T(1),
            !weighted || weight_ok(w) ? T(0) : T(1)};
}

template <class T>
static void report(T bad_labels, T bad_predictions, T bad_weights, int32_t* status) {
    *status |= (bad_labels > 0 ? FASTLOSS_BAD_LABEL : 0) | (bad_predictions > 0 ? FASTLOSS_BAD_PREDICTION : 0) |
               (bad_weights > 0 ? FASTLOSS_BAD_WEIGHT : 0);
}

// Sums run in the SIMD lanes that the compiler chooses: their order depends on n and the instruction set alone.
template <class T, class Loss, bool weighted, bool values, bool gradients, bool hessians>
static double run_block(const double* params, int64_t n, const T* y, const T* z, const T* weight, double scale,
                        T* value, T* gradient, T* hessian, int32_t* status) {
    const Loss loss(params);
    constexpr bool derivatives = gradients || hessians;
    const bool goes_on = *status & FASTLOSS_GOES_ON, past_caches = gradients && *status & FASTLOSS_PAST_CACHES;
    const int64_t at_once = past_caches && !prepared_numbers<Loss>::value ? streamed_at_once : prepared_at_once;
    alignas(64) T spare[prepared_at_once];
    double sum = 0;
    T bad_labels = 0, bad_predictions = 0, bad_weights = 0;
    const auto run = [&](int64_t start, int64_t stop, auto at) {
        T* const to = past_caches ? spare : gradient + start;
#pragma omp simd reduction(+ : sum, bad_labels, bad_predictions, bad_weights)
        for (int64_t i = start; i < stop; ++i) {
            const Sample<T> sample = weigh<weighted>(loss, at(vmath::One<T>{i - start}, y[i], z[i]), y[i], z[i],
                                                     weighted ? weight[i] : T(1), scale);
            sum += sample.value;
            bad_labels += sample.bad_label;
            bad_predictions += sample.bad_prediction;
            bad_weights += sample.bad_weight;
            if (values) value[i] = T(sample.value);
            if (gradients) to[i - start] = sample.gradient;
            if (hessians) hessian[i] = sample.hessian;
        }
        if (past_caches)
            stream(reinterpret_cast<const char*>(spare), reinterpret_cast<char*>(gradient + start),
                   (stop - start) * int64_t(sizeof(T)));
    };
    const double rest = each_block<T, Loss, derivatives>(loss, n, y, z, at_once, goes_on, run);
    report(bad_labels, bad_predictions, bad_weights, status);
    return sum + rest;
}

#if FASTLOSS_WIDE
// The plain case by registers, for losses that take them. Sums are in the same order with and without the gradient.
template <class T, class Loss, bool gradients, bool past_caches>
static double run_wide(const double* params, int64_t n, const T* y, const T* z, const T*, double scale, T*, T* gradient,
                       T*, int32_t* status) {
    const Loss loss(params);
    const bool goes_on = *status & FASTLOSS_GOES_ON;
    const T factor = T(scale);
    vmath::WideSum<T> sum;
    decltype(vmath::Wide<T>::set(0) == 0) bad_labels = {}, bad_predictions = {};
    const auto run = [&](int64_t start, int64_t stop, auto at) {
        vmath::each<T>(stop - start, {}, [&](auto place) {
            const auto yi = place.load(y + start);
            const auto zi = place.load(z + start);
            const auto point = at(place, yi, zi);
            if constexpr (checks_labels<Loss, T>::value) bad_labels |= ~loss.label_ok(yi);
            if constexpr (checks_predictions<Loss, T>::value) bad_predictions |= ~loss.prediction_ok(zi);
            sum.add(place.keep(point.value));
            if (past_caches)
                place.stream(gradient + start, factor * point.gradient);
            else if (gradients)
                place.store(gradient + start, factor * point.gradient);
        });
    };
    const double rest = each_block<T, Loss, gradients>(loss, n, y, z, prepared_at_once, goes_on, run);
    const auto any = [](auto bad) {
        T found = 0;
        for (int lane = 0; lane < vmath::Wide<T>::lanes; ++lane) found += bad[lane] ? T(1) : T(0);
        return found;
    };
    report(any(bad_labels), any(bad_predictions), T(0), status);
    return sum.total() + rest;
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
        if (!value && !hessian) {
            if (gradient && *status & FASTLOSS_PAST_CACHES && starts_line(gradient))
                return run(run_wide<T, Loss, true, true>);
            return gradient ? run(run_wide<T, Loss, true, false>) : run(run_wide<T, Loss, false, false>);
        }
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
    if constexpr (has_summed<Loss>::value) {
        if (!weight && !value && !hessian)
            return choose_outputs<T, typename Loss::Summed, false>(params, n, y, z, nullptr, scale, nullptr, gradient,
                                                                   nullptr, status);
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
