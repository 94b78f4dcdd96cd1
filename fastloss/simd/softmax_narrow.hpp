// Categorical cross-entropy of logits for few classes, by columns: the formulas are in categorical.hpp.
#pragma once
#include "labels.hpp"

namespace fastloss {

// Rows of few numbers are transposed, `column_rows` of them at a time: column c holds class c of all of them, and every
// loop runs over rows.
constexpr int64_t narrow = 16, column_rows = 64;

template <class T>
struct Columns {
    T e[narrow][column_rows], target[narrow][column_rows];  // logits and then e_c or gradient; a_c and then hessian
    T weight[column_rows], top[column_rows], total[column_rows], gaps[column_rows], rest[column_rows];
};

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
            e[i] -= columns.top[i];
            columns.gaps[i] += target[i] == 0 ? T(0) : target[i] * -e[i];
        }
        vmath::exp_nonpositive(n, e, e);
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
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
    T e[k * column_rows], w[column_rows], at_label[column_rows], rest[column_rows], log_sum[column_rows],
        slope[column_rows], each[column_rows];
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
            vmath::exp_nonpositive(k * column_rows, e, e);
        else
            for (int c = 0; c < k; ++c) vmath::exp_nonpositive(count, e + c * column_rows, e + c * column_rows);
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) {
            T others = 0, ones = -1;
            for (int c = 0; c < k; ++c) {
                const T ec = e[c * column_rows + i];
                others += ec == 1 ? T(0) : ec;
                ones += ec == 1 ? T(1) : T(0);
            }
            rest[i] = others + ones;
        }
        vmath::log1p(count, rest, log_sum);
        double part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = 0; i < count; ++i) {
            const double loss = double(log_sum[i] - at_label[i]);
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
        T losses[column_rows], log_sum[column_rows];
        vmath::log1p(count, columns.rest, log_sum);
        double part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = 0; i < count; ++i) {
            const double loss = double(columns.total[i]) * double(log_sum[i]) + columns.gaps[i];
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

// plain_rows for a k that is known only now.
template <class T, int k = 2>
static double plain_rows_of(const Classes& classes, int64_t n, const T* y, const T* z, const T* weight, double scale,
                            T* value, T* gradient, T* hessian, int32_t* status) {
    if constexpr (k < narrow) {
        if (classes.k != k)
            return plain_rows_of<T, k + 1>(classes, n, y, z, weight, scale, value, gradient, hessian, status);
    }
    return plain_rows<T, k>(classes, n, y, z, weight, scale, value, gradient, hessian, status);
}

}  // namespace fastloss
