// Categorical cross-entropy of logits, by rows: the formulas are in categorical.hpp.
#pragma once
#include "labels.hpp"

namespace fastloss {

// d = z - max(z) over the k numbers of a row, or of a piece of one; returns the maximum. z may be d. Where all are -inf
// they stay so: in a piece of a row they are classes of probability 0 like others.
template <class T>
FASTLOSS_INLINE T subtract_max(int64_t k, const T* z, T* d) {
    T top = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : top)
    for (int64_t c = 0; c < k; ++c) top = z[c] > top ? z[c] : top;
    const T shift = top > -std::numeric_limits<T>::infinity() ? top : T(0);
#pragma omp simd
    for (int64_t c = 0; c < k; ++c) d[c] = z[c] - shift;
    return top;
}

// R of a row or a piece: the sum of all e but that of one maximum.
template <class T>
FASTLOSS_INLINE double sum_rest(int64_t k, const T* e) {
    double sum = 0, maxima = -1;  // apart: next to the -1 a small sum would lose its digits
    for (int64_t start = 0; start < k; start += part_length) {
        const int64_t stop = std::min(k, start + part_length);
        T part = 0, ones = 0;
#pragma omp simd reduction(+ : part, ones)
        for (int64_t c = start; c < stop; ++c) {
            part += e[c] == 1 ? T(0) : e[c];
            ones += e[c] == 1 ? T(1) : T(0);
        }
        maxima += double(ones);
        sum += double(part);
    }
    return sum + maxima;
}

// The terms a_c (m - z_c) of a row or a piece, from d = z - m, without that of an integer label.
template <class T, bool soft>
FASTLOSS_INLINE double sum_gaps(const Classes& classes, const Label<T>& label, int64_t first, int64_t k, const T* d) {
    if (!soft && classes.floor == 0) return 0;
    return with_target<T, soft>(classes, label, first, [=](auto a) {
        return sum_classes<T>(k, [=](int64_t c) { return a(c) == 0 ? T(0) : a(c) * -d[c]; });
    });
}

// A without the part of an integer label.
template <class T, bool soft>
FASTLOSS_INLINE double sum_target(const Classes& classes, const Label<T>& label) {
    if (!soft) return classes.floors;
    return with_target<T, soft>(classes, label, 0, [&](auto a) { return sum_classes<T>(classes.k, a); });
}

// What is known of a row once its exponentials are.
template <class T>
struct Row {
    Label<T> label;
    T top;            // m
    double total;     // A
    double gaps;      // sum_c a_c (m - z_c)
    T rest, inverse;  // R, 1 / S
};

// Turns the e of a row, or of a piece of it whose maximum is down by log(ratio), into gradient and hessian.
template <class T, bool soft, bool gradients, bool hessians>
FASTLOSS_INLINE void finish_piece(const Classes& classes, const Row<T>& row, double scale, int64_t first, int64_t k,
                                  T ratio, const T* e, T* gradient, T* hessian) {
    const double factor = row.label.weight * scale;
    const T whole = T(factor * row.total), slope = whole * row.inverse;
    const T rest = row.rest, sum = 1 + row.rest, curvature = slope * row.inverse;
    const int64_t index = row.label.index - first;
    const bool has_label = !soft && index >= 0 && index < k;
    const T at_label = has_label ? e[index] * ratio : T(0);
    if (hessians) {
#pragma omp simd
        for (int64_t c = 0; c < k; ++c) {
            const T ec = e[c] * ratio;
            hessian[c] = curvature * (ec * (ec == 1 ? rest : sum - ec));
        }
    }
    if (!gradients) return;
    if (!soft && classes.floor == 0) {
        const T slope_of_piece = slope * ratio;
#pragma omp simd
        for (int64_t c = 0; c < k; ++c) gradient[c] = slope_of_piece * e[c];
    } else {
        const T each = T(factor), complement = slope * rest;
        const bool dominant = rest < 1;
        with_target<T, soft>(classes, row.label, first, [=](auto a) {
#pragma omp simd
            for (int64_t c = 0; c < k; ++c) {
                const T ec = e[c] * ratio, ac = each * a(c);
                gradient[c] = soft && dominant && ec == 1 ? (whole - ac) - complement : slope * ec - ac;
            }
        });
    }
    if (has_label) {
        const double floor = classes.weight(row.label.index) * classes.floor;
        gradient[index] = at_label == 1 && rest < 1 ? T(factor * (classes.floors - floor)) - slope * rest
                                                    : slope * at_label - T(factor * (floor + row.label.hard));
    }
}

template <class T, bool soft>
FASTLOSS_INLINE void finish_row_piece(const Classes& classes, const Row<T>& row, double scale, int64_t first, int64_t k,
                                      T ratio, const T* e, T* gradient, T* hessian) {
    if (gradient && hessian)
        finish_piece<T, soft, true, true>(classes, row, scale, first, k, ratio, e, gradient, hessian);
    else if (gradient)
        finish_piece<T, soft, true, false>(classes, row, scale, first, k, ratio, e, gradient, nullptr);
    else if (hessian)
        finish_piece<T, soft, false, true>(classes, row, scale, first, k, ratio, e, nullptr, hessian);
}

constexpr int64_t row_block = 2048;  // numbers: z and e of a block stay in the L1 cache

template <class T>
FASTLOSS_INLINE double gap_to_label(const Label<T>& label, T top, T z) {
    return label.hard == 0 ? 0.0 : label.hard * double(top - z);
}

// The weighted loss of a row; finds 1 / S.
template <class T>
FASTLOSS_INLINE double loss_of(Row<T>& row, T log_sum) {
    row.inverse = 1 / (1 + row.rest);
    return row.label.weight * (row.total * double(log_sum) + row.gaps);
}

// The results of a row that is left out, whatever it holds.
template <class T>
FASTLOSS_INLINE void leave_out(int64_t k, T* gradient, T* hessian) {
    if (gradient) std::fill(gradient, gradient + k, T(0));
    if (hessian) std::fill(hessian, hessian + k, T(0));
}

// Rows of up to row_block numbers, several at a time: the exponentials of all of them are one loop.
template <class T, bool soft>
static double short_rows(const Classes& classes, int64_t n, const T* y, const T* z, const T* weight, double scale,
                         T* value, T* gradient, T* hessian, int32_t* status) {
    constexpr int64_t max_rows = 128;
    const int64_t k = classes.k, at_once = std::min(max_rows, row_block / k);
    T scratch[row_block], rest[max_rows], log_sum[max_rows];
    Row<T> rows[max_rows];
    double sum = 0;
    for (int64_t start = 0; start < n; start += at_once) {
        const int64_t count = std::min(at_once, n - start);
        T* e = gradient ? gradient + start * k : hessian ? hessian + start * k : scratch;
        for (int64_t i = 0; i < count; ++i) {
            Row<T>& row = rows[i];
            const T* from = z + (start + i) * k;
            T* d = e + i * k;
            row.label = read_label<T, soft>(classes, y, start + i, weight, status);
            if (row.label.weight == 0) {
                std::fill(d, d + k, T(0));
                continue;
            }
            const T at_label = soft ? T(0) : from[row.label.index];
            row.top = subtract_max(k, from, d);
            row.total = sum_target<T, soft>(classes, row.label) + row.label.hard;
            row.gaps = sum_gaps<T, soft>(classes, row.label, 0, k, d) + gap_to_label(row.label, row.top, at_label);
        }
        vmath::exp_nonpositive(count * k, e, e);
        for (int64_t i = 0; i < count; ++i) rest[i] = T(sum_rest(k, e + i * k));
        vmath::log1p(count, rest, log_sum);
        for (int64_t i = 0; i < count; ++i) {
            T* row_gradient = gradient ? gradient + (start + i) * k : nullptr;
            T* row_hessian = hessian ? hessian + (start + i) * k : nullptr;
            if (value) value[start + i] = 0;
            if (rows[i].label.weight == 0) {
                leave_out(k, row_gradient, row_hessian);
                continue;
            }
            rows[i].rest = rest[i];
            const double loss = loss_of(rows[i], log_sum[i]);
            sum += loss;
            if (value) value[start + i] = T(loss);
            finish_row_piece<T, soft>(classes, rows[i], scale, 0, k, T(1), e + i * k, row_gradient, row_hessian);
        }
    }
    return sum;
}

// One long row in pieces that stay in cache, each with a maximum of its own: logits are read once, and have one
// exponential each, although the maximum of all is known only at the end.
template <class T, bool soft>
static double long_row(const Classes& classes, int64_t i, const T* y, const T* z, const T* weight, double scale,
                       T* gradient, T* hessian, int32_t* status) {
    constexpr int64_t max_pieces = 1024;
    const int64_t k = classes.k;
    const int64_t length = std::max(row_block, (k + max_pieces - 1) / max_pieces);
    T scratch[row_block], tops[max_pieces];
    Row<T> row;
    row.label = read_label<T, soft>(classes, y, i, weight, status);
    if (row.label.weight == 0) {
        leave_out(k, gradient, hessian);
        return 0;
    }
    T* e = gradient ? gradient : hessian;
    const T at_label = soft ? T(0) : z[row.label.index];
    row.total = sum_target<T, soft>(classes, row.label) + row.label.hard;
    row.top = -std::numeric_limits<T>::infinity();
    row.gaps = 0;
    double rest = -1, passed = 0;  // R so far; the part of A that `gaps` stands for
    for (int64_t first = 0; first < k; first += length) {
        // Without an output to hold them, exponentials go through scratch.
        for (int64_t from = first, stop = std::min(k, first + length); from < stop;) {
            const int64_t count = e ? stop - from : std::min(row_block, stop - from);
            T* d = e ? e + from : scratch;
            const T top = subtract_max(count, z + from, d);
            const double gaps = sum_gaps<T, soft>(classes, row.label, from, count, d);
            const double share =
                soft || classes.floor > 0
                    ? with_target<T, soft>(classes, row.label, from, [=](auto a) { return sum_classes<T>(count, a); })
                    : 0.0;
            vmath::exp_nonpositive(count, d, d);
            const double others = sum_rest(count, d);
            if (e) tops[first / length] = top;
            const double up = top > row.top ? double(top) - double(row.top) : 0.0;
            const double down = top > row.top ? 0.0 : double(row.top) - double(top);
            // Sums relative to the larger of the two maxima; the smaller one then counts as any other.
            if (top > row.top) {
                rest = others + (rest < 0 ? 0.0 : (1 + rest) * std::exp(-up));
                row.top = top;
            } else {
                rest += (1 + others) * std::exp(-down);
            }
            row.gaps += gaps + (share == 0 ? 0.0 : share * down) + (passed == 0 ? 0.0 : passed * up);
            passed += share;
            from += count;
        }
    }
    row.gaps += gap_to_label(row.label, row.top, at_label);
    row.rest = T(rest);
    const double loss = loss_of(row, vmath::log1p(row.rest));
    for (int64_t first = 0; e && first < k; first += length)
        finish_row_piece<T, soft>(classes, row, scale, first, std::min(length, k - first),
                                  T(std::exp(double(tops[first / length]) - double(row.top))), e + first,
                                  gradient ? gradient + first : nullptr, hessian ? hessian + first : nullptr);
    return loss;
}

}  // namespace fastloss
