// Branch-free exp, log, log1p and sigmoid that compilers vectorise, for float and double, over the whole range of the
// dtype: infinities, NaN and denormals included. tests/test_vmath.py measures their error in ulp.
//
// How they stay vectorisable: selects in place of branches; integers only of the width of the floating type; the
// exponent is read and written by shifts; rounding to an integer adds and subtracts a magic number (SSE2 has no
// round). They need IEEE semantics: never compile them with -ffast-math. Coefficients: docs/remez.py.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#if defined(_MSC_VER) && !defined(__clang__)
#define FASTLOSS_INLINE static __forceinline
#else
#define FASTLOSS_INLINE static inline __attribute__((always_inline))
#endif

namespace fastloss {
namespace vmath {

template <class To, class From>
FASTLOSS_INLINE To bit_cast(From from) {
    static_assert(sizeof(To) == sizeof(From), "bit_cast keeps the size");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

template <class T>
struct Constants;

template <>
struct Constants<double> {
    using Int = int64_t;
    using Unsigned = uint64_t;
    static constexpr int mantissa = 52;
    static constexpr Int bias = 1023;
    static constexpr Int mantissa_mask = 0x000fffffffffffff;
    static constexpr Int sqrt_half = 0x3fe6a09e667f3bcd;        // bits of sqrt(1/2)
    static constexpr Int two_to_mantissa = 0x4330000000000000;  // bits of 2^52
    static constexpr double magic = 0x1.8p52;                   // x + magic rounds x to an integer in the low bits
    static constexpr double log2e = 0x1.71547652b82fep0;
    static constexpr double ln2_hi = 0x1.62e42feep-1;  // 32 bits: k * ln2_hi is exact, also without an FMA
    static constexpr double ln2_lo = 0x1.a39ef35793c76p-33;
    static constexpr double exp_lowest = -746, exp_highest = 710;  // exp is 0 and infinity from there on
    static constexpr Int shift = 128;                              // keeps 2^(k +- shift) a normal number
    static constexpr double two_to_shift = 0x1p128, two_to_minus_shift = 0x1p-128;
    static constexpr double denormal_scale = 0x1p54;
    static constexpr Int denormal_log2 = 54;
    static constexpr int exp_terms = 10, log_terms = 7;
    static constexpr double exp_tail[exp_terms] = {0x1.000000000000ap-1,  0x1.55555555554fap-3,  0x1.55555555508cbp-5,
                                                   0x1.1111111127b97p-7,  0x1.6c16c1841c139p-10, 0x1.a01a012a58797p-13,
                                                   0x1.a0199a2ce13d0p-16, 0x1.71df25799584bp-19, 0x1.28ad5860886b8p-22,
                                                   0x1.ad7efffdb4577p-26};
    static constexpr double log_tail[log_terms] = {0x1.5555555555592p-1, 0x1.999999998009fp-2, 0x1.24924941cfa3dp-2,
                                                   0x1.c71c522085cc2p-3, 0x1.74663ac1ff1edp-3, 0x1.39a219f0cb6cap-3,
                                                   0x1.2f02035e40c1fp-3};
};

template <>
struct Constants<float> {
    using Int = int32_t;
    using Unsigned = uint32_t;
    static constexpr int mantissa = 23;
    static constexpr Int bias = 127;
    static constexpr Int mantissa_mask = 0x007fffff;
    static constexpr Int sqrt_half = 0x3f3504f3;
    static constexpr Int two_to_mantissa = 0x4b000000;
    static constexpr float magic = 0x1.8p23f;
    static constexpr float log2e = 0x1.715476p0f;
    static constexpr float ln2_hi = 0x1.63p-1f;
    static constexpr float ln2_lo = -0x1.bd0106p-13f;
    static constexpr float exp_lowest = -104, exp_highest = 89;
    static constexpr Int shift = 32;
    static constexpr float two_to_shift = 0x1p32f, two_to_minus_shift = 0x1p-32f;
    static constexpr float denormal_scale = 0x1p25f;
    static constexpr Int denormal_log2 = 25;
    static constexpr int exp_terms = 5, log_terms = 3;
    static constexpr float exp_tail[exp_terms] = {0x1.fffffcp-2f, 0x1.555492p-3f, 0x1.5558f0p-5f, 0x1.1239d4p-7f,
                                                  0x1.6a2472p-10f};
    static constexpr float log_tail[log_terms] = {0x1.55557ap-1f, 0x1.995ec6p-2f, 0x1.31e1f8p-2f};
};

template <int exponent, class T>
FASTLOSS_INLINE T power(T x) {
    if constexpr (exponent == 1)
        return x;
    else
        return power<exponent / 2>(x) * power<exponent / 2>(x);
}

constexpr int power_of_two_below(int n) {
    int power = 1;
    while (2 * power < n) power *= 2;
    return power;
}

// c[0] + c[1] x + ... by Estrin's scheme: a kernel is bound by the latency of its longest chain, and this one's depth
// is the logarithm of Horner's.
template <int terms, class T>
FASTLOSS_INLINE T polynomial(const T* c, T x) {
    if constexpr (terms == 1) {
        return c[0];
    } else {
        constexpr int half = power_of_two_below(terms);
        return polynomial<half>(c, x) + polynomial<terms - half>(c + half, x) * power<half>(x);
    }
}

// std::fabs and std::copysign are one bit operation each; a select would be two.
template <class T>
FASTLOSS_INLINE T abs(T x) {
    return std::fabs(x);
}

template <class T>
FASTLOSS_INLINE T minus_abs(T x) {
    return -std::fabs(x);
}

// max(x, 0); what becomes of NaN depends on the instruction set.
template <class T>
FASTLOSS_INLINE T positive_part(T x) {
    return x > 0 ? x : T(0);
}

// x for y = 0, -x for y = 1: the bit that tells these two apart, moved to the sign's place.
template <class T>
FASTLOSS_INLINE T negate_if_one(T x, T y) {
    using U = typename Constants<T>::Unsigned;
    constexpr U sign = U(1) << (8 * sizeof(T) - 1);
    return bit_cast<T>(bit_cast<U>(x) ^ ((bit_cast<U>(y) << 2) & sign));
}

// exp(x) = 2^k exp(r), |r| <= ln(2) / 2; returns exp(r) - 1, and in `rounded` the number k + magic.
template <class T>
FASTLOSS_INLINE T expm1_reduced(T x, T& rounded) {
    using C = Constants<T>;
    rounded = x * C::log2e + C::magic;
    const T k = rounded - C::magic;
    const T r = (x - k * C::ln2_hi) - k * C::ln2_lo;
    return r + r * r * polynomial<C::exp_terms>(C::exp_tail, r);
}

// exp(x) for x <= 0 (or NaN). The scaling by 2^k is in two steps, so that a denormal result is rounded once.
template <class T>
FASTLOSS_INLINE T exp_nonpositive(T x) {
    using C = Constants<T>;
    x = x < C::exp_lowest ? C::exp_lowest : x;
    T rounded;
    const T y = expm1_reduced(x, rounded);
    const auto k = bit_cast<typename C::Unsigned>(rounded);
    const T scale = bit_cast<T>((k + (C::bias + C::shift)) << C::mantissa);
    return (y * scale + scale) * C::two_to_minus_shift;
}

template <class T>
FASTLOSS_INLINE T exp(T x) {
    using C = Constants<T>;
    x = x < C::exp_lowest ? C::exp_lowest : x;
    x = x > C::exp_highest ? C::exp_highest : x;
    T rounded;
    const T y = expm1_reduced(x, rounded);
    const T offset = x < 0 ? T(C::bias + C::shift) : T(C::bias - C::shift);
    const T rest = x < 0 ? C::two_to_minus_shift : C::two_to_shift;
    const T scale = bit_cast<T>(bit_cast<typename C::Unsigned>(rounded + offset) << C::mantissa);
    return (y * scale + scale) * rest;
}

// k ln(2) + log1p(f) for f in [sqrt(1/2) - 1, sqrt(2) - 1] and s = f / (2 + f), after fdlibm:
// log1p(f) = f - (f^2/2 - s (f^2/2 + R(s^2))), which keeps f itself exact.
template <class T>
FASTLOSS_INLINE T log1p_reduced(T f, T s, T k) {
    using C = Constants<T>;
    const T half_square = T(0.5) * f * f;
    const T z = s * s;
    const T tail = z * polynomial<C::log_terms>(C::log_tail, z);
    return k * C::ln2_hi - ((half_square - (s * (half_square + tail) + k * C::ln2_lo)) - f);
}

// log(x + rest) for a normal finite x > 0 and |rest| <= ulp(x) / 2; `log2` is added to the exponent.
template <class T>
FASTLOSS_INLINE T log_normal(T x, T rest = 0, T log2 = 0) {
    using C = Constants<T>;
    using U = typename C::Unsigned;
    const U shifted = bit_cast<U>(x) - U(C::sqrt_half) + (U(C::bias) << C::mantissa);
    const U exponent = shifted >> C::mantissa;  // k + bias
    const T k = bit_cast<T>(exponent | U(C::two_to_mantissa)) - (bit_cast<T>(C::two_to_mantissa) + T(C::bias));
    const T m = bit_cast<T>((shifted & U(C::mantissa_mask)) + U(C::sqrt_half));
    // 2^(1 - k), not 2^-k: for the largest x that would leave the range of normal numbers.
    const T scale = bit_cast<T>((U(2 * C::bias + 1) - exponent) << C::mantissa);
    const T f = (m - 1) + T(0.5) * rest * scale;
    return log1p_reduced(f, f / (2 + f), k + log2);
}

// Puts right what log_normal cannot know: 0, negative numbers, infinity, NaN.
template <class T>
FASTLOSS_INLINE T log_specials(T x, T result) {
    using L = std::numeric_limits<T>;
    result = x < L::infinity() ? result : x;
    result = x > 0 ? result : L::quiet_NaN();
    return x == 0 ? -L::infinity() : result;
}

// log(x + rest), with rest as for log_normal.
template <class T>
FASTLOSS_INLINE T log(T x, T rest) {
    using C = Constants<T>;
    const bool denormal = x < std::numeric_limits<T>::min();
    const T scaled = denormal ? x * C::denormal_scale : x;
    return log_specials(x, log_normal(scaled, rest, denormal ? T(-C::denormal_log2) : T(0)));
}

template <class T>
FASTLOSS_INLINE T log(T x) {
    return log(x, T(0));
}

template <class T>
FASTLOSS_INLINE T log1p(T x) {
    const T u = 1 + x;
    // The rounding error of u, exactly; beyond 2^mantissa it no longer matters and may be infinity - infinity.
    const T rest = x < 1 ? x - (u - 1) : (u < T(1e15) ? 1 - (u - x) : T(0));
    // A NaN would give a number in log_normal; log_specials looks at u, which is NaN too.
    return log_specials(u, log_normal(u, rest));
}

// log1p(x) for x in [0, 1] (or NaN): half the work of log1p.
template <class T>
FASTLOSS_INLINE T log1p_unit(T x) {
    const bool upper = x > T(0.41421356237309503);  // sqrt(2) - 1: there 1 + x = 2 (1 + f)
    const T s = (x + (upper ? T(-1) : T(0))) / (x + (upper ? T(3) : T(2)));
    return log1p_reduced(upper ? T(0.5) * x - T(0.5) : x, s, upper ? T(1) : T(0));
}

template <class T>
FASTLOSS_INLINE T sigmoid(T x) {
    const T e = exp_nonpositive(-abs(x));
    const T inverse = 1 / (1 + e);
    return x < 0 ? e * inverse : inverse;
}

}  // namespace vmath
}  // namespace fastloss
