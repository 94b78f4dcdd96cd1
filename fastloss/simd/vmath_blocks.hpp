// Elementary functions over blocks of numbers. A long chain of operations fills a CPU's scheduler before the next
// sample can enter; several short loops overlap. So losses find what takes long here, and keep it in the nearest cache.
#pragma once
#include "vmath_wide.hpp"

namespace fastloss {
namespace vmath {

// One place in a block, or as many as a register holds. All lanes are computed by the same operations, so that a result
// does not depend on its place.
template <class T>
struct One {
    int64_t i;
    T load(const T* x) const { return x[i]; }
    void store(T* to, T x) const { to[i] = x; }
};

#if FASTLOSS_WIDE
template <class T>
struct Several {
    using W = Wide<T>;
    int64_t i;
    typename W::Vector load(const T* x) const { return W::load(x + i); }
    void store(T* to, typename W::Vector x) const { W::store(to + i, x); }
};

template <class T>
struct Last {
    using W = Wide<T>;
    int64_t i;
    typename W::Mask lanes;
    typename W::Vector load(const T* x) const { return W::load(lanes, x + i); }
    void store(T* to, typename W::Vector x) const { W::store(lanes, to + i, x); }
};
#endif

// Calls body(place) until all n numbers have been in one. Arrays are the same or apart.
template <class T, class Body>
FASTLOSS_INLINE void each(int64_t n, Body body) {
#if FASTLOSS_WIDE
    constexpr int lanes = Wide<T>::lanes;
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes) body(Several<T>{i});
    if (i < n) body(Last<T>{i, typename Wide<T>::Mask((1u << (n - i)) - 1)});
#else
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) body(One<T>{i});
#endif
}

template <class T>
FASTLOSS_INLINE void exp(int64_t n, const T* x, T* out) {
    each<T>(n, [=](auto at) { at.store(out, exp(at.load(x))); });
}

template <class T>
FASTLOSS_INLINE void exp_nonpositive(int64_t n, const T* x, T* out) {
    each<T>(n, [=](auto at) { at.store(out, exp_nonpositive(at.load(x))); });
}

template <class T>
FASTLOSS_INLINE void log(int64_t n, const T* x, T* out) {
    each<T>(n, [=](auto at) { at.store(out, log(at.load(x))); });
}

template <class T>
FASTLOSS_INLINE void log1p(int64_t n, const T* x, T* out) {
    each<T>(n, [=](auto at) { at.store(out, log1p(at.load(x))); });
}

// log(x + rest), with rest as in vmath.hpp, and 1 / x: the division is free beside the products of the logarithm.
template <class T, bool inverses>
FASTLOSS_INLINE void log_and_inverse(int64_t n, const T* x, const T* rest, T* log_x, T* inverse) {
    each<T>(n, [=](auto at) {
        const auto number = at.load(x);
        if (inverses) at.store(inverse, 1 / number);
        at.store(log_x, log(number, at.load(rest)));
    });
}

// Of logits z: e = exp(-|z|), log1p(e) and 1 / (1 + e).
template <class T, bool inverses>
FASTLOSS_INLINE void softplus_parts(int64_t n, const T* z, T* e, T* log1p_e, T* inverse) {
    each<T>(n, [=](auto at) { at.store(e, exp_nonpositive(-abs(at.load(z)))); });
    each<T>(n, [=](auto at) {
        const auto x = at.load(e);
        if (inverses) at.store(inverse, 1 / (1 + x));
        at.store(log1p_e, log1p_unit(x));
    });
}

}  // namespace vmath
}  // namespace fastloss
