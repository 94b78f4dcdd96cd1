// Elementary functions over blocks of numbers. A long chain of operations fills a CPU's scheduler before the next
// sample can enter; several short loops overlap. So losses find what takes long here, and keep it in the nearest cache.
#pragma once
#include "copy.hpp"
#include "vmath_wide.hpp"

namespace fastloss {
namespace vmath {

// One place in a block, or as many as a register holds. All lanes are computed by the same operations, so that a result
// does not depend on its place.
template <class T>
struct One {
    int64_t i;
    T load(const T* x) const { return x[i]; }
    T keep(T x) const { return x; }  // 0 for what is in no place
    void store(T* to, T x) const { to[i] = x; }
};

#if FASTLOSS_WIDE
template <class T>
struct Several {
    using W = Wide<T>;
    int64_t i;
    typename W::Vector load(const T* x) const { return W::load(x + i); }
    typename W::Vector keep(typename W::Vector x) const { return x; }
    void store(T* to, typename W::Vector x) const { W::store(to + i, x); }
    void stream(T* to, typename W::Vector x) const { W::stream(to + i, x); }  // past the caches; whole lines
};

template <class T>
struct Last {
    using W = Wide<T>;
    int64_t i;
    typename W::Mask lanes;
    typename W::Vector load(const T* x) const { return W::load(lanes, x + i); }
    typename W::Vector keep(typename W::Vector x) const { return W::keep(lanes, x); }
    void store(T* to, typename W::Vector x) const { W::store(lanes, to + i, x); }
    void stream(T* to, typename W::Vector x) const { store(to, x); }
};
#endif

// Where the labels and predictions after a block lie, of those that are to be asked for; or null.
template <class T>
struct Next {
    const T *y = nullptr, *z = nullptr;
    explicit operator bool() const { return y || z; }
};

template <class T>
FASTLOSS_INLINE void ask(Next<T> next, int64_t start, int64_t count) {
    if (next.y) prefetch(reinterpret_cast<const char*>(next.y + start), count * int64_t(sizeof(T)));
    if (next.z) prefetch(reinterpret_cast<const char*>(next.z + start), count * int64_t(sizeof(T)));
}

// Calls body(place) until all n numbers have been in one. Arrays are the same or apart. Meanwhile the next n are asked
// for, a little at a time: only some two dozen cache lines can be on their way.
template <class T, class Body>
FASTLOSS_INLINE void each(int64_t n, Next<T> next, Body body) {
#if FASTLOSS_WIDE
    constexpr int lanes = Wide<T>::lanes;
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        ask(next, i, lanes);
        body(Several<T>{i});
    }
    if (i < n) body(Last<T>{i, typename Wide<T>::Mask((1u << (n - i)) - 1)});
#else
    const int64_t at_once = next ? 1024 / int64_t(sizeof(T)) : n;
    for (int64_t start = 0; start < n; start += at_once) {
        const int64_t stop = std::min(n, start + at_once);
        ask(next, start, stop - start);
#pragma omp simd
        for (int64_t i = start; i < stop; ++i) body(One<T>{i});
    }
#endif
}

template <class T>
FASTLOSS_INLINE void exp(int64_t n, const T* x, T* out, Next<T> next) {
    each<T>(n, next, [=](auto at) { at.store(out, exp(at.load(x))); });
}

template <class T>
FASTLOSS_INLINE void exp(int64_t n, const T* x, T* out) {
    exp(n, x, out, Next<T>());
}

template <class T>
FASTLOSS_INLINE void exp_nonpositive(int64_t n, const T* x, T* out, Next<T> next = Next<T>()) {
    each<T>(n, next, [=](auto at) { at.store(out, exp_nonpositive(at.load(x))); });
}

template <class T>
FASTLOSS_INLINE void log(int64_t n, const T* x, T* out) {
    each<T>(n, Next<T>(), [=](auto at) { at.store(out, log(at.load(x))); });
}

template <class T>
FASTLOSS_INLINE void log1p(int64_t n, const T* x, T* out) {
    each<T>(n, Next<T>(), [=](auto at) { at.store(out, log1p(at.load(x))); });
}

// log(x + rest), with rest as in vmath.hpp, and 1 / x: the division is free beside the products of the logarithm.
template <class T, bool inverses>
FASTLOSS_INLINE void log_and_inverse(int64_t n, const T* x, const T* rest, T* log_x, T* inverse, Next<T> next) {
    each<T>(n, next, [=](auto at) {
        const auto number = at.load(x);
        if (inverses) at.store(inverse, 1 / number);
        at.store(log_x, log(number, at.load(rest)));
    });
}

template <class T>
FASTLOSS_INLINE void exp_minus_abs(int64_t n, const T* z, T* out, Next<T> next) {
    each<T>(n, next, [=](auto at) { at.store(out, exp_nonpositive(minus_abs(at.load(z)))); });
}

// Of logits z: e = exp(-|z|), log1p(e) and 1 / (1 + e).
template <class T, bool inverses>
FASTLOSS_INLINE void softplus_parts(int64_t n, const T* z, T* e, T* log1p_e, T* inverse, Next<T> next) {
    exp_minus_abs(n, z, e, Next<T>{nullptr, next.z});
    each<T>(n, Next<T>{next.y, nullptr}, [=](auto at) {
        const auto x = at.load(e);
        if (inverses) at.store(inverse, 1 / (1 + x));
        at.store(log1p_e, log1p_unit(x));
    });
}

template <class T>
FASTLOSS_INLINE double sum_in_double(int64_t n, const T* x) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; ++i) sum += double(x[i]);
    return sum;
}

// The sum of log1p(e) of n numbers >= 0, by one logarithm for the product of 2, 4 or 8:
//     (1 + a) (1 + b) = 1 + (a + b + a b),
// a sum of terms >= 0, in which small numbers keep their digits. There must be room behind e for its end to be filled
// up with zeros, to a multiple of 16 times the factors.
template <int64_t factors, class T>
static double sum_log1p_of_products(int64_t n, T* e) {
    constexpr int64_t lanes = 16;
    const int64_t width = (n + factors * lanes - 1) / (factors * lanes) * lanes;
    std::fill(e + n, e + factors * width, T(0));
    const auto times = [](auto a, auto b) { return a * b + (a + b); };
    each<T>(width, Next<T>(), [=](auto at) {
        const auto pair = [=](int64_t i) { return times(at.load(e + i * width), at.load(e + (i + 1) * width)); };
        const auto four = [=](int64_t i) { return times(pair(i), pair(i + 2)); };
        if constexpr (factors == 2)
            at.store(e, pair(0));
        else if constexpr (factors == 4)
            at.store(e, four(0));
        else
            at.store(e, times(four(0), four(4)));
    });
    log1p(width, e, e);
    return sum_in_double(width, e);
}

// The same of at most 512 numbers in [0, 1].
template <class T>
static double sum_log1p(int64_t n, T* e) {
    constexpr int64_t few = 32;  // blocks of a linear model's rows
    if (n > few) return sum_log1p_of_products<8>(n, e);
    each<T>(n, Next<T>(), [=](auto at) { at.store(e, log1p_unit(at.load(e))); });
    return sum_in_double(n, e);
}

}  // namespace vmath
}  // namespace fastloss
