// Categorical cross-entropy: the losses with several outputs a sample.
//
// A row's target is a weight a_c for each class, made of an integer label y or a row of probabilities y_c, of label
// smoothing s and of class weights v_c:
//     a_c = v_c ((1 - s) y_c + s / K),    A = sum_c a_c.
// Of logits z, with m = max_c z_c, e_c = exp(z_c - m), R the sum of all e_c but that of one maximum, S = 1 + R:
//     loss     = sum_c a_c (log sum_j exp(z_j) - z_c) = A log1p(R) + sum_c a_c (m - z_c),
//     gradient = A e_c / S - a_c,    at a maximum, if R < 1, (A - a_c) - A R / S,
//     hessian  = A e_c (S - e_c) / S^2 (the diagonal), at a maximum A R / S^2.
// All terms of the loss are >= 0, and a sum without the 1 keeps what the rest gives where one logit dominates: nothing
// cancels. A maximum is told by e_c = 1. A row with +inf or nothing but -inf has no limit here: NaN, as inf - inf.
// Of probabilities p, clipped: loss = -sum_c a_c log p_c, gradient -a_c / p_c inside the clip, hessian a_c / p_c^2.
#pragma once
#include "softmax.hpp"
#include "softmax_narrow.hpp"

namespace fastloss {

template <class T, bool soft>
static double categorical_logits(const double* params, int64_t n, int64_t k, const T* y, const T* z, const T* weight,
                                 double scale, T* value, T* gradient, T* hessian, int32_t* status) {
    if (k < 1) return 0;
    const Classes classes(params, k);
    if constexpr (!soft) {
        if (k >= 2 && k <= narrow && classes.floor == 0 && !classes.class_weight)
            return plain_rows_of<T>(classes, n, y, z, weight, scale, value, gradient, hessian, status);
    }
    if (k <= narrow) return narrow_rows<T, soft>(classes, n, y, z, weight, scale, value, gradient, hessian, status);
    if (k <= row_block) return short_rows<T, soft>(classes, n, y, z, weight, scale, value, gradient, hessian, status);
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) {
        const double loss =
            long_row<T, soft>(classes, i, y, z + i * k, weight, scale, gradient ? gradient + i * k : nullptr,
                              hessian ? hessian + i * k : nullptr, status);
        sum += loss;
        if (value) value[i] = T(loss);
    }
    return sum;
}

// ---- probabilities

template <class T, bool soft>
static double categorical_probabilities(const double* params, int64_t n, int64_t k, const T* y, const T* z,
                                        const T* weight, double scale, T* value, T* gradient, T* hessian,
                                        int32_t* status) {
    if (k < 1) return 0;
    const Classes classes(params, k);
    const Clip<T> clip(classes.eps);
    const bool dense = soft || classes.floor > 0;  // whether other classes than the label's count
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) {
        const T* p = z + i * k;
        T* g = gradient ? gradient + i * k : nullptr;
        T* h = hessian ? hessian + i * k : nullptr;
        const Label<T> label = read_label<T, soft>(classes, y, i, weight, status);
        if (label.weight == 0) {
            if (value) value[i] = 0;
            if (g) std::fill(g, g + k, T(0));
            if (h) std::fill(h, h + k, T(0));
            continue;
        }
        const double factor = label.weight * scale;
        const T each = T(factor);
        T bad = 0, flow = 0;  // flow: 0, or NaN if there is one
#pragma omp simd reduction(+ : bad, flow)
        for (int64_t c = 0; c < k; ++c) {
            bad += Clip<T>::contains(p[c]) ? T(0) : T(1);
            flow += unless_nan(p[c], T(0));
        }
        if (bad > 0) *status |= FASTLOSS_BAD_PREDICTION;
        double loss = double(flow);
        const T at_label = soft ? T(0) : p[label.index];
        if (dense) {
            with_target<T, soft>(classes, label, 0, [&](auto a) {
                loss += sum_classes<T>(k, [=](int64_t c) { return a(c) == 0 ? T(0) : -a(c) * vmath::log(clip(p[c])); });
                if (h) {
#pragma omp simd
                    for (int64_t c = 0; c < k; ++c) {
                        const T pc = clip(p[c]);
                        h[c] = unless_nan(p[c], pc == p[c] && a(c) != 0 ? each * a(c) / pc / pc : T(0));
                    }
                }
                if (g) {
#pragma omp simd
                    for (int64_t c = 0; c < k; ++c) {
                        const T pc = clip(p[c]);
                        g[c] = unless_nan(p[c], pc == p[c] && a(c) != 0 ? -(each * a(c) / pc) : T(0));
                    }
                }
            });
        } else {
            for (T* out : {h, g})
                if (out)
                    for (int64_t c = 0; c < k; ++c) out[c] = unless_nan(p[c], T(0));
        }
        if (!soft) {
            const T pc = clip(at_label);
            const T a = T(factor * (label.hard + classes.weight(label.index) * classes.floor));
            if (label.hard != 0) loss += label.hard * -double(vmath::log(pc));
            const bool inside = pc == at_label && a != 0;
            if (g) g[label.index] = unless_nan(at_label, inside ? -a / pc : T(0));
            if (h) h[label.index] = unless_nan(at_label, inside ? a / pc / pc : T(0));
        }
        loss *= label.weight;
        sum += loss;
        if (value) value[i] = T(loss);
    }
    return sum;
}

// What a mean divides by: each sample's weight times that of its label (of labels before smoothing).
template <class T, bool soft>
static double weigh_categorical(const double* params, int64_t n, int64_t k, const T* y, const T* weight,
                                int32_t* status) {
    if (k < 1) return 0;
    const Classes classes(params, k);
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) {
        const Label<T> label = read_label<T, soft>(classes, y, i, weight, status);
        if (label.weight == 0) continue;
        double share = soft ? 1.0 : classes.weight(label.index);
        if (soft && classes.class_weight) {  // the mean weight of its classes
            double weighted = 0, whole = 0;
            for (int64_t c = 0; c < k; ++c) {
                weighted += classes.class_weight[c] * double(label.row[c]);
                whole += double(label.row[c]);
            }
            share = whole > 0 ? weighted / whole : 1.0;
        }
        sum += label.weight * share;
    }
    return sum;
}

// name, block function, function that weighs labels; each for integer labels and for rows of probabilities.
#define FASTLOSS_CATEGORICAL_LOSSES(LOSS)                                                                       \
    LOSS("categorical_cross_entropy_logits", categorical_logits, weigh_categorical, false, true)                \
    LOSS("categorical_cross_entropy_logits_soft", categorical_logits, weigh_categorical, true, false)           \
    LOSS("categorical_cross_entropy_probabilities", categorical_probabilities, weigh_categorical, false, false) \
    LOSS("categorical_cross_entropy_probabilities_soft", categorical_probabilities, weigh_categorical, true, false)

}  // namespace fastloss
