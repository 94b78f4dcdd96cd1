// The labels of categorical losses: class indices or rows of probabilities, and what they make the classes weigh.
#pragma once
#include <algorithm>

#include "blocks.hpp"

namespace fastloss {

// What a row's classes weigh. The parameters: label smoothing, eps of the clip, 1 if a label is to be ignored, that
// label, the number of class weights (0 or k), the weights.
struct Classes {
    int64_t k;
    double eps, slope, floor;  // a_c = v_c (slope y_c + floor)
    bool ignores;
    double ignored;
    const double* class_weight;  // or null
    double floors;               // the sum of all v_c floor

    Classes(const double* params, int64_t k)
        : k(k),
          eps(params[1]),
          slope(1 - params[0]),
          floor(params[0] / double(k)),
          ignores(params[2] != 0),
          ignored(params[3]),
          class_weight(params[4] > 0 ? params + 5 : nullptr),
          floors(0) {
        if (floor > 0)
            for (int64_t c = 0; c < k; ++c) floors += weight(c) * floor;
    }
    double weight(int64_t c) const { return class_weight ? class_weight[c] : 1.0; }
};

// One row's label: a class, or probabilities; and how much it counts.
template <class T>
struct Label {
    const T* row = nullptr;  // probabilities, if they are the label
    int64_t index = -1;      // the class, if that is
    double hard = 0;         // v_c slope of that class
    double weight = 0;       // of the sample; 0 if it is left out
};

// Finds fault with nothing that a weight of 0 leaves out.
template <class T, bool soft>
FASTLOSS_INLINE Label<T> read_label(const Classes& classes, const T* y, int64_t i, const T* weight, int32_t* status) {
    const int64_t k = classes.k;
    Label<T> label;
    const T w = weight ? weight[i] : T(1);
    if (!weight_ok(w)) *status |= FASTLOSS_BAD_WEIGHT;
    if (w == 0) return label;
    if constexpr (soft) {
        label.row = y + i * k;
        T bad = 0;
#pragma omp simd reduction(+ : bad)
        for (int64_t c = 0; c < k; ++c) bad += label.row[c] >= 0 && label.row[c] <= 1 ? T(0) : T(1);
        if (bad > 0) *status |= FASTLOSS_BAD_LABEL;
    } else {
        const T yi = y[i];
        if (classes.ignores && yi == T(classes.ignored)) return label;
        const bool in_range = yi >= 0 && yi < T(k);
        const int64_t c = in_range ? int64_t(yi) : 0;
        if (!in_range || T(c) != yi) {
            *status |= FASTLOSS_BAD_LABEL;
            return label;
        }
        label.index = c;
        label.hard = classes.weight(c) * classes.slope;
    }
    label.weight = double(w);
    return label;
}

constexpr int64_t part_length = 128;  // numbers summed in T

// The sum of term(c) over `count` classes: in several lanes of T, every part_length in double, so that
// rows of any length see few roundings.
template <class T, class Term>
FASTLOSS_INLINE double sum_classes(int64_t count, Term term) {
    double sum = 0;
    for (int64_t start = 0; start < count; start += part_length) {
        const int64_t stop = std::min(count, start + part_length);
        T part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t c = start; c < stop; ++c) part += term(c);
        sum += double(part);
    }
    return sum;
}

// Calls run(a) with a(c) = a_c but for the class of an integer label, which is left to the caller; one form of it for
// each kind of target, so that loops over it vectorise.
template <class T, bool soft, class Run>
FASTLOSS_INLINE auto with_target(const Classes& classes, const Label<T>& label, int64_t first, Run run) {
    const T slope = T(classes.slope), floor = T(classes.floor);
    const double *weight = classes.class_weight ? classes.class_weight + first : nullptr, floor64 = classes.floor;
    if constexpr (soft) {
        const T* row = label.row + first;
        if (!weight) return run([=](int64_t c) { return slope * row[c] + floor; });
        return run([=](int64_t c) { return T(weight[c]) * (slope * row[c] + floor); });
    } else {
        if (!weight) return run([=](int64_t) { return floor; });
        return run([=](int64_t c) { return T(weight[c] * floor64); });
    }
}

// What integer labels of fewer than 2^24 classes say: the class, and the weight, 0 where the sample is left out.
template <class T, bool weighted>
FASTLOSS_INLINE void read_classes_of(const Classes& classes, int64_t n, const T* y, const T* weight, int32_t* index,
                                     T* w, int32_t* status) {
    T bad_labels = 0, bad_weights = 0;  // counted in T, as in blocks.hpp
    const T k = T(classes.k), ignored = classes.ignores ? T(classes.ignored) : std::numeric_limits<T>::quiet_NaN();
#pragma omp simd reduction(+ : bad_labels, bad_weights)
    for (int64_t i = 0; i < n; ++i) {
        const T label = y[i], given = weighted ? weight[i] : T(1);
        const T from_zero = label >= 0 ? label : T(0), in_range = from_zero < k ? from_zero : T(0);
        const int32_t c = int32_t(in_range);
        const T counted = label == ignored ? T(0) : given, used = T(c) == label ? counted : T(0);
        bad_weights += weight_ok(given) ? T(0) : T(1);
        bad_labels += used == counted ? T(0) : T(1);  // NaN is a bad weight first
        index[i] = c;
        w[i] = used;
    }
    *status |= (bad_labels > 0 ? FASTLOSS_BAD_LABEL : 0) | (bad_weights > 0 ? FASTLOSS_BAD_WEIGHT : 0);
}

template <class T>
FASTLOSS_INLINE void read_classes(const Classes& classes, int64_t n, const T* y, const T* weight, int32_t* index, T* w,
                                  int32_t* status) {
    if (weight) return read_classes_of<T, true>(classes, n, y, weight, index, w, status);
    read_classes_of<T, false>(classes, n, y, weight, index, w, status);
}

}  // namespace fastloss
