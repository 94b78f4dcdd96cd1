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

// The sum of term(c) over `count` classes from `first` on: in several lanes of T, every 512 in double, so that rows of
// any length see few roundings.
template <class T, class Term>
FASTLOSS_INLINE double sum_classes(int64_t count, Term term) {
    double sum = 0;
    for (int64_t start = 0; start < count; start += 512) {
        const int64_t stop = std::min(count, start + 512);
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
    const T* row = label.row + (soft && label.row ? first : 0);
    if (!soft || !label.row) {
        if (!classes.class_weight) return run([=](int64_t) { return floor; });
        const double *weight = classes.class_weight + first, floor64 = classes.floor;
        return run([=](int64_t c) { return T(weight[c] * floor64); });
    }
    if (!classes.class_weight) return run([=](int64_t c) { return slope * row[c] + floor; });
    const double* weight = classes.class_weight + first;
    return run([=](int64_t c) { return T(weight[c]) * (slope * row[c] + floor); });
}

// ---- logits

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
    for (int64_t start = 0; start < k; start += 512) {
        const int64_t stop = std::min(k, start + 512);
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
FASTLOSS_INLINE void exp_all(int64_t n, T* x) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) x[i] = vmath::exp_nonpositive(x[i]);
}

template <class T>
FASTLOSS_INLINE double gap_to_label(const Label<T>& label, T top, T z) {
    return label.hard == 0 ? 0.0 : label.hard * double(top - z);
}

// The weighted loss of a row; finds 1 / S.
template <class T>
FASTLOSS_INLINE double loss_of(Row<T>& row, T log_sum) {
    row.inverse = 1 / (1 + row.rest);
    return row.label.weight == 0 ? 0.0 : row.label.weight * (row.total * double(log_sum) + row.gaps);
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
            row.total = row.gaps = 0;
            if (row.label.weight == 0) {  // not even looked at: all results will be 0
                std::fill(d, d + k, T(0));
                continue;
            }
            const T at_label = soft ? T(0) : from[row.label.index];
            row.top = subtract_max(k, from, d);
            row.total = sum_target<T, soft>(classes, row.label) + row.label.hard;
            row.gaps = sum_gaps<T, soft>(classes, row.label, 0, k, d) + gap_to_label(row.label, row.top, at_label);
        }
        exp_all(count * k, e);
        for (int64_t i = 0; i < count; ++i) rest[i] = T(sum_rest(k, e + i * k));
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) log_sum[i] = vmath::log1p(rest[i]);
        for (int64_t i = 0; i < count; ++i) {
            rows[i].rest = rest[i];
            const double loss = loss_of(rows[i], log_sum[i]);
            sum += loss;
            if (value) value[start + i] = T(loss);
            finish_row_piece<T, soft>(classes, rows[i], scale, 0, k, T(1), e + i * k,
                                      gradient ? gradient + (start + i) * k : nullptr,
                                      hessian ? hessian + (start + i) * k : nullptr);
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
        if (gradient) std::fill(gradient, gradient + k, T(0));
        if (hessian) std::fill(hessian, hessian + k, T(0));
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
            exp_all(count, d);
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

// Rows of few numbers are transposed, `column_rows` of them at a time: column c holds class c of all of them, and every
// loop runs over rows.
constexpr int64_t narrow = 16, column_rows = 64;

template <class T>
struct Columns {
    T e[narrow][column_rows], target[narrow][column_rows];  // logits and then e_c or gradient; a_c and then hessian
    T weight[column_rows], top[column_rows], total[column_rows], gaps[column_rows], rest[column_rows];
};

// What integer labels say: the class, and the weight, 0 where the sample is left out. One row at a time: a loop over
// rows and classes that vectorises takes several times as long.
template <class T>
FASTLOSS_INLINE void read_classes(const Classes& classes, int64_t n, const T* y, const T* weight, int32_t* index, T* w,
                                  int32_t* status) {
    bool bad_labels = false, bad_weights = false;
    const T k = T(classes.k);
    for (int64_t i = 0; i < n; ++i) {
        const T label = y[i], given = weight ? weight[i] : T(1);
        const bool in_range = label >= 0 && label < k, ignored = classes.ignores && label == T(classes.ignored);
        const int32_t c = in_range ? int32_t(label) : 0;
        const bool used = given != 0 && !ignored, good = in_range && T(c) == label;
        bad_weights |= !weight_ok(given);
        bad_labels |= used && !good;
        index[i] = c;
        w[i] = used && good ? given : T(0);
    }
    *status |= (bad_labels ? FASTLOSS_BAD_LABEL : 0) | (bad_weights ? FASTLOSS_BAD_WEIGHT : 0);
}

// Reads weights and targets.
template <class T, bool soft>
FASTLOSS_INLINE void read_columns(const Classes& classes, int64_t n, const T* y, const T* weight, Columns<T>& columns,
                                  int32_t* status) {
    if constexpr (soft) {
        T bad_labels = 0, bad_weights = 0;
        for (int64_t i = 0; i < n; ++i) {
            columns.weight[i] = weight ? weight[i] : T(1);
            bad_weights += weight_ok(columns.weight[i]) ? T(0) : T(1);
            columns.total[i] = 0;
        }
        for (int64_t c = 0; c < classes.k; ++c) {
            T* target = columns.target[c];
            const T slope = T(classes.weight(c) * classes.slope), floor = T(classes.weight(c) * classes.floor);
            for (int64_t i = 0; i < n; ++i) target[i] = y[i * classes.k + c];
#pragma omp simd reduction(+ : bad_labels)
            for (int64_t i = 0; i < n; ++i) {
                bad_labels += columns.weight[i] == 0 || (target[i] >= 0 && target[i] <= 1) ? T(0) : T(1);
                target[i] = slope * target[i] + floor;
                columns.total[i] += target[i];
            }
        }
        *status |= (bad_labels > 0 ? FASTLOSS_BAD_LABEL : 0) | (bad_weights > 0 ? FASTLOSS_BAD_WEIGHT : 0);
    } else {
        int32_t index[column_rows];
        read_classes(classes, n, y, weight, index, columns.weight, status);
        for (int64_t c = 0; c < classes.k; ++c)
            std::fill(columns.target[c], columns.target[c] + n, T(classes.weight(c) * classes.floor));
        for (int64_t i = 0; i < n; ++i) {
            const double own = classes.weight(index[i]) * classes.slope;
            columns.target[index[i]][i] = T(own + classes.weight(index[i]) * classes.floor);
            columns.total[i] = T(own + classes.floors);
        }
    }
}

// The second derivatives of one class: each A e (S - e) / S^2.
template <class T>
FASTLOSS_INLINE void hessian_column(int64_t n, const T* e, const T* weight, const T* total, const T* rest,
                                    const T* each, const T* inverse, T* hessian) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
        const T others = e[i] == 1 ? rest[i] : (1 + rest[i]) - e[i];
        // The tiny e first: what rounds it as a denormal number is then made smaller, not larger.
        const T h = (each[i] * total[i] * inverse[i]) * (e[i] * (others * inverse[i]));
        hessian[i] = weight[i] == 0 ? T(0) : h;
    }
}

// Writes columns as rows.
template <class T>
FASTLOSS_INLINE void write_rows(int64_t n, int64_t k, const T* columns, T* rows) {
    for (int64_t i = 0; i < n; ++i)
        for (int64_t c = 0; c < k; ++c) rows[i * k + c] = columns[c * column_rows + i];
}

// From logits to e_c, and what is summed over classes.
template <class T>
FASTLOSS_INLINE void exp_columns(int64_t n, int64_t k, Columns<T>& columns) {
    T ones[column_rows];
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
        columns.top[i] = -std::numeric_limits<T>::infinity();
        columns.gaps[i] = columns.rest[i] = 0;
        ones[i] = -1;
    }
    for (int64_t c = 0; c < k; ++c)
#pragma omp simd
        for (int64_t i = 0; i < n; ++i)
            columns.top[i] = columns.e[c][i] > columns.top[i] ? columns.e[c][i] : columns.top[i];
    for (int64_t c = 0; c < k; ++c) {
        T *e = columns.e[c], *target = columns.target[c];
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
            const T d = e[i] - columns.top[i];
            columns.gaps[i] += target[i] == 0 ? T(0) : target[i] * -d;
            e[i] = vmath::exp_nonpositive(d);
            columns.rest[i] += e[i] == 1 ? T(0) : e[i];
            ones[i] += e[i] == 1 ? T(1) : T(0);
        }
    }
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) columns.rest[i] += ones[i];
}

// From e_c and a_c to the gradient, in the place of e_c. The hessian, if wanted, has a loop of its own, so that
// gradients are the same to the last bit with and without.
template <class T>
FASTLOSS_INLINE void finish_columns(int64_t n, int64_t k, double scale, Columns<T>& columns,
                                    T (*hessian)[column_rows]) {
    T each[column_rows], inverse[column_rows];
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
        each[i] = T(double(columns.weight[i]) * scale);
        inverse[i] = 1 / (1 + columns.rest[i]);
    }
    for (int64_t c = 0; hessian && c < k; ++c)
        hessian_column(n, columns.e[c], columns.weight, columns.total, columns.rest, each, inverse, hessian[c]);
    for (int64_t c = 0; c < k; ++c) {
        T *column = columns.e[c], *target = columns.target[c];
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
            const T e = column[i], a = target[i], rest = columns.rest[i], total = columns.total[i];
            const bool keep = columns.weight[i] != 0, dominant = e == 1 && rest < 1;
            const T p = e * inverse[i];
            const T g = dominant ? (total - a) - total * (rest * inverse[i]) : total * p - a;
            column[i] = keep ? each[i] * g : T(0);
        }
    }
}

template <class T, int k>
static void plain_hessians(int64_t n, const T* e, const T* w, const T* rest, const T* each, T* hessian) {
    T columns[k * column_rows], inverse[column_rows], ones[column_rows];
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
        inverse[i] = 1 / (1 + rest[i]);
        ones[i] = 1;
    }
    for (int c = 0; c < k; ++c)
        hessian_column(n, e + c * column_rows, w, ones, rest, each, inverse, columns + c * column_rows);
    write_rows(n, k, columns, hessian);
}

// The plain case, an integer label and nothing else: the target is 1 at the label. With k known when compiled, what is
// summed over classes stays in registers.
template <class T, int k>
static double plain_rows(const Classes& classes, int64_t n, const T* y, const T* z, const T* weight, double scale,
                         T* value, T* gradient, T* hessian, int32_t* status) {
    T e[k * column_rows], w[column_rows], at_label[column_rows], rest[column_rows], slope[column_rows],
        each[column_rows];
    int32_t index[column_rows];
    double sum = 0;
    for (int64_t start = 0; start < n; start += column_rows) {
        const int64_t count = std::min(column_rows, n - start);
        read_classes(classes, count, y + start, weight ? weight + start : nullptr, index, w, status);
        for (int c = 0; c < k; ++c)
#pragma omp simd
            for (int64_t i = 0; i < count; ++i) e[c * column_rows + i] = z[(start + i) * k + c];
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) {
            T top = e[i];
            for (int c = 1; c < k; ++c) top = e[c * column_rows + i] > top ? e[c * column_rows + i] : top;
            for (int c = 0; c < k; ++c) e[c * column_rows + i] -= top;
        }
        for (int64_t i = 0; i < count; ++i) at_label[i] = e[index[i] * column_rows + i];
        if (count == column_rows)
            exp_all(k * column_rows, e);
        else
            for (int c = 0; c < k; ++c) exp_all(count, e + c * column_rows);
        double part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = 0; i < count; ++i) {
            T others = 0, ones = -1;
            for (int c = 0; c < k; ++c) {
                const T ec = e[c * column_rows + i];
                others += ec == 1 ? T(0) : ec;
                ones += ec == 1 ? T(1) : T(0);
            }
            rest[i] = others + ones;
            const double loss = double(vmath::log1p(rest[i]) - at_label[i]);
            const double weighted = w[i] == 0 ? 0.0 : double(w[i]) * loss;
            at_label[i] = T(weighted);
            part += weighted;
        }
        sum += part;
        if (value) std::copy(at_label, at_label + count, value + start);
        if (!gradient && !hessian) continue;
        for (int64_t i = 0; i < count; ++i) at_label[i] = e[index[i] * column_rows + i];
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) {
            each[i] = T(double(w[i]) * scale);
            slope[i] = each[i] / (1 + rest[i]);
            const T g = at_label[i] == 1 ? -slope[i] * rest[i] : slope[i] * at_label[i] - each[i];
            at_label[i] = w[i] == 0 ? T(0) : g;
        }
        if (hessian) plain_hessians<T, k>(count, e, w, rest, each, hessian + start * k);
        if (!gradient) continue;
        for (int c = 0; c < k; ++c)
#pragma omp simd
            for (int64_t i = 0; i < count; ++i) {
                T& g = e[c * column_rows + i];
                g = w[i] == 0 ? T(0) : slope[i] * g;
            }
        for (int64_t i = 0; i < count; ++i) {
            T* row = gradient + (start + i) * k;
            for (int c = 0; c < k; ++c) row[c] = e[c * column_rows + i];
            row[index[i]] = at_label[i];
        }
    }
    return sum;
}

template <class T, bool soft>
static double narrow_rows(const Classes& classes, int64_t n, const T* y, const T* z, const T* weight, double scale,
                          T* value, T* gradient, T* hessian, int32_t* status) {
    const int64_t k = classes.k;
    Columns<T> columns;
    double sum = 0;
    for (int64_t start = 0; start < n; start += column_rows) {
        const int64_t count = std::min(column_rows, n - start);
        read_columns<T, soft>(classes, count, y + start * (soft ? k : 1), weight ? weight + start : nullptr, columns,
                              status);
        for (int64_t c = 0; c < k; ++c)
            for (int64_t i = 0; i < count; ++i) columns.e[c][i] = z[(start + i) * k + c];
        exp_columns(count, k, columns);
        T losses[column_rows];
        double part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = 0; i < count; ++i) {
            const double loss = double(columns.total[i]) * double(vmath::log1p(columns.rest[i])) + columns.gaps[i];
            const double weighted = columns.weight[i] == 0 ? 0.0 : double(columns.weight[i]) * loss;
            losses[i] = T(weighted);
            part += weighted;
        }
        sum += part;
        if (value) std::copy(losses, losses + count, value + start);
        if (!gradient && !hessian) continue;
        T hessians[narrow][column_rows];
        finish_columns(count, k, scale, columns, hessian ? hessians : nullptr);
        if (hessian) write_rows(count, k, hessians[0], hessian + start * k);
        if (gradient) write_rows(count, k, columns.e[0], gradient + start * k);
    }
    return sum;
}

template <class T, bool soft>
static double categorical_logits(const double* params, int64_t n, int64_t k, const T* y, const T* z, const T* weight,
                                 double scale, T* value, T* gradient, T* hessian, int32_t* status) {
    if (k < 1) return 0;
    const Classes classes(params, k);
    if constexpr (!soft) {
        if (classes.floor == 0 && !classes.class_weight) {
            const auto plain = [&](auto run) {
                return run(classes, n, y, z, weight, scale, value, gradient, hessian, status);
            };
            switch (k) {
#define FASTLOSS_PLAIN(K) \
    case K:               \
        return plain(plain_rows<T, K>);
                FASTLOSS_PLAIN(2)
                FASTLOSS_PLAIN(3)
                FASTLOSS_PLAIN(4)
                FASTLOSS_PLAIN(5) FASTLOSS_PLAIN(6) FASTLOSS_PLAIN(7) FASTLOSS_PLAIN(8) FASTLOSS_PLAIN(9)
                    FASTLOSS_PLAIN(10) FASTLOSS_PLAIN(11) FASTLOSS_PLAIN(12) FASTLOSS_PLAIN(13) FASTLOSS_PLAIN(14)
                        FASTLOSS_PLAIN(15) FASTLOSS_PLAIN(16)
#undef FASTLOSS_PLAIN
                            default : break;
            }
        }
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
#define FASTLOSS_CATEGORICAL_LOSSES(LOSS)                                                                \
    LOSS("categorical_cross_entropy_logits", categorical_logits, weigh_categorical, false)               \
    LOSS("categorical_cross_entropy_logits_soft", categorical_logits, weigh_categorical, true)           \
    LOSS("categorical_cross_entropy_probabilities", categorical_probabilities, weigh_categorical, false) \
    LOSS("categorical_cross_entropy_probabilities_soft", categorical_probabilities, weigh_categorical, true)

}  // namespace fastloss
