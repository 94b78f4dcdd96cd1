// Categorical cross-entropy of logits for few classes, by columns: the formulas are in categorical.hpp.
#pragma once
#include "labels.hpp"
#include "transpose.hpp"

namespace fastloss {

// Rows of few numbers are transposed, some of them at a time: column c holds class c of all of them, and every loop
// runs over rows.
constexpr int64_t narrow = 16, column_rows = 64;

// In the plain case, as many as the pass over blocks hands over: few, so that a gradient that goes past the caches does
// so while exponentials are computed.
template <class T, int k>
constexpr int64_t plain_at_once = k * sizeof(T) > 40 ? 32 : 64;

template <class T>
struct Columns {
    T e[narrow][column_rows], target[narrow][column_rows];  // logits and then e_c or gradient; a_c and then hessian
    T weight[column_rows], top[column_rows], total[column_rows], gaps[column_rows], rest[column_rows];
};

// The labels and logits of the next rows, where they are to be asked for.
template <class T>
FASTLOSS_INLINE vmath::Next<T> next_rows(bool goes_on, const T* y, const T* z) {
    return goes_on ? vmath::Next<T>{y, z} : vmath::Next<T>();
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

// From logits to e_c, and what is summed over classes. Meanwhile as many logits of the next rows are asked for, unless
// null.
template <class T>
FASTLOSS_INLINE void exp_columns(int64_t n, int64_t k, const T* next, Columns<T>& columns) {
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
        vmath::exp_nonpositive(n, e, e, vmath::Next<T>{nullptr, next ? next + c * n : nullptr});
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
    constexpr int64_t stride = plain_at_once<T, k>;
    T columns[k * column_rows], inverse[stride], ones[stride];
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
        inverse[i] = 1 / (1 + rest[i]);
        ones[i] = 1;
    }
    for (int c = 0; c < k; ++c)
        hessian_column(n, e + c * stride, w, ones, rest, each, inverse, columns + c * column_rows);
    write_rows(n, k, columns, hessian);
}

template <class T, int k>
constexpr bool by_registers() {
#if FASTLOSS_TRANSPOSES
    return k >= Pack<T, vector_bytes>::lanes;
#else
    return false;
#endif
}

// Rows of logits as columns, less the maximum of each row.
template <class T, int k>
FASTLOSS_INLINE void subtract_maxima(int64_t n, const T* z, T* columns) {
    constexpr int64_t stride = plain_at_once<T, k>;
#if FASTLOSS_TRANSPOSES
    if constexpr (by_registers<T, k>()) {
        using R = Rows<T, k>;
        if (n % R::lanes == 0) {
            for (int64_t i = 0; i < n; i += R::lanes) {
                typename R::Vector x[k];
                R::load(z + i * k, x);
                auto top = x[0];
                for (int c = 1; c < k; ++c) top = x[c] > top ? x[c] : top;
                for (int c = 0; c < k; ++c) R::P::store(columns + c * stride + i, x[c] - top);
            }
            return;
        }
    }
#endif
    for (int c = 0; c < k; ++c)
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) columns[c * stride + i] = z[i * k + c];
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
        T top = columns[i];
        for (int c = 1; c < k; ++c) top = columns[c * stride + i] > top ? columns[c * stride + i] : top;
        for (int c = 0; c < k; ++c) columns[c * stride + i] -= top;
    }
}

// slope_i e_i of all columns, as rows; 0 where w_i is. At the label what is given; columns may be changed.
template <class T, int k>
FASTLOSS_INLINE void write_gradient(int64_t n, T* columns, const T* w, const T* slope, const int32_t* index,
                                    const T* at_label, T* rows) {
    constexpr int64_t stride = plain_at_once<T, k>;
#if FASTLOSS_TRANSPOSES
    if constexpr (by_registers<T, k>()) {
        using R = Rows<T, k>;
        if (n % R::lanes == 0) {
            for (int64_t i = 0; i < n; i += R::lanes) {
                typename R::Vector x[k];
                const auto si = R::P::load(slope + i), wi = R::P::load(w + i);
                for (int c = 0; c < k; ++c) {
                    const auto scaled = si * R::P::load(columns + c * stride + i);
                    x[c] = wi == 0 ? typename R::Vector{} : scaled;
                }
                R::store(x, rows + i * k);
            }
            for (int64_t i = 0; i < n; ++i) rows[i * k + index[i]] = at_label[i];
            return;
        }
    }
#endif
    for (int c = 0; c < k; ++c)
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
            T& g = columns[c * stride + i];
            g = w[i] == 0 ? T(0) : slope[i] * g;
        }
    for (int64_t i = 0; i < n; ++i) {
        T* row = rows + i * k;
        for (int c = 0; c < k; ++c) row[c] = columns[c * stride + i];
        row[index[i]] = at_label[i];
    }
}

// The plain case, an integer label and nothing else: the target is 1 at the label. With k known when compiled, what is
// summed over classes stays in registers.
template <class T, int k>
static double plain_rows(const Classes& classes, int64_t n, const T* y, const T* z, const T* weight, double scale,
                         T* value, T* gradient, T* hessian, int32_t* status) {
    constexpr int64_t stride = plain_at_once<T, k>;
    T e[k * stride], w[stride], at_label[stride], rest[stride], log_sum[stride], slope[stride], each[stride];
    int32_t index[stride];
    const bool goes_on = *status & FASTLOSS_GOES_ON;
    double sum = 0;
    for (int64_t start = 0; start < n; start += stride) {
        const int64_t count = std::min(stride, n - start);
        const auto next = next_rows(goes_on, y + start + count, z + (start + count) * k);
        ask(vmath::Next<T>{next.y}, 0, count);
        read_classes(classes, count, y + start, weight ? weight + start : nullptr, index, w, status);
        subtract_maxima<T, k>(count, z + start * k, e);
        for (int64_t i = 0; i < count; ++i) at_label[i] = e[index[i] * stride + i];
        if (count == stride)
            vmath::exp_nonpositive(k * stride, e, e, vmath::Next<T>{nullptr, next.z});
        else
            for (int c = 0; c < k; ++c) vmath::exp_nonpositive(count, e + c * stride, e + c * stride);
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) {
            T others = 0, ones = -1;
            for (int c = 0; c < k; ++c) {
                const T ec = e[c * stride + i];
                others += ec == 1 ? T(0) : ec;
                ones += ec == 1 ? T(1) : T(0);
            }
            rest[i] = others + ones;
        }
        double part = 0;
        if (weight || value) {
            vmath::log1p(count, rest, log_sum);
#pragma omp simd reduction(+ : part)
            for (int64_t i = 0; i < count; ++i) {
                const double loss = double(log_sum[i] - at_label[i]);
                const double weighted = w[i] == 0 ? 0.0 : double(w[i]) * loss;
                at_label[i] = T(weighted);
                part += weighted;
            }
        } else {  // all weights are 1, or 0 at labels that are ignored
#pragma omp simd reduction(+ : part)
            for (int64_t i = 0; i < count; ++i) {
                log_sum[i] = w[i] == 0 ? T(0) : rest[i];
                part -= w[i] == 0 ? 0.0 : double(at_label[i]);
            }
            part += vmath::sum_log1p_of_products<stride / 16>(count, log_sum);
        }
        sum += part;
        if (value) std::copy(at_label, at_label + count, value + start);
        if (!gradient && !hessian) continue;
        for (int64_t i = 0; i < count; ++i) at_label[i] = e[index[i] * stride + i];
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) {
            each[i] = T(double(w[i]) * scale);
            slope[i] = each[i] / (1 + rest[i]);
            const T g = at_label[i] == 1 ? -slope[i] * rest[i] : slope[i] * at_label[i] - each[i];
            at_label[i] = w[i] == 0 ? T(0) : g;
        }
        if (hessian) plain_hessians<T, k>(count, e, w, rest, each, hessian + start * k);
        if (!gradient) continue;
        write_gradient<T, k>(count, e, w, slope, index, at_label, gradient + start * k);
    }
    return sum;
}

template <class T, bool soft>
static double narrow_rows(const Classes& classes, int64_t n, const T* y, const T* z, const T* weight, double scale,
                          T* value, T* gradient, T* hessian, int32_t* status) {
    const int64_t k = classes.k;
    const bool goes_on = *status & FASTLOSS_GOES_ON;
    Columns<T> columns;
    double sum = 0;
    for (int64_t start = 0; start < n; start += column_rows) {
        const int64_t count = std::min(column_rows, n - start);
        const auto next = next_rows(goes_on, y + start + count, z + (start + count) * k);
        ask(vmath::Next<T>{next.y}, 0, count);
        read_columns<T, soft>(classes, count, y + start * (soft ? k : 1), weight ? weight + start : nullptr, columns,
                              status);
        for (int64_t c = 0; c < k; ++c)
            for (int64_t i = 0; i < count; ++i) columns.e[c][i] = z[(start + i) * k + c];
        exp_columns(count, k, next.z, columns);
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
