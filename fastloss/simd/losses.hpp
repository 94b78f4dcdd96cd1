// The scalar mathematics of every loss, written once.
//
// A loss is a struct template over the dtype T, made from its parameters, with
//     Point<T> at(T y, T z)     value, gradient and second derivative with respect to z
// and, where not all labels or predictions are in the domain,
//     bool label_ok(T y)        whether y is; NaN never is
//     bool prediction_ok(T z)   whether z is; a NaN z always passes, and flows through to the results
// and, where they pay,
//     prepared, prepare<derivatives>(n, y, z, next, out)
//                               how many numbers more at() takes of each sample, and the function that finds them for
//                               a block, by vmath_blocks.hpp; those that only derivatives need where they are asked
//                               for. It asks memory for the next labels and predictions
//     by_registers              whether at() and label_ok() take registers of numbers, too: see vmath_wide.hpp
//     Hard, is_hard(params)     a struct for blocks whose labels are all 0 or 1, and whether these parameters allow it
//     Summed                    a struct for samples without weights whose values are only summed, and their second
//                               derivatives not asked for; its rest(n, prepared), if there is one, is what at() leaves
//                               out of the sum of a block
// All branch-free: selects between numbers that are computed anyway, so that compilers vectorise. What a caller does
// not ask for is dropped as dead code. The list at the end is what the rest of the library sees.
#pragma once
#include "vmath_blocks.hpp"

namespace fastloss {

constexpr int64_t prepared_at_once = 512;  // samples
// Not 4096 bytes apart: a CPU takes a load for one of what was just stored where the last 12 bits of addresses are
// alike.
constexpr int64_t prepared_stride = prepared_at_once + 32;

// The value is double for float32 too: (1e20f)^2 is finite there, and sums are taken in double anyway. Registers of
// numbers are widened when they are added.
template <class V>
struct Point {
    using Value = std::conditional_t<std::is_arithmetic_v<V>, double, V>;
    Value value;
    V gradient, hessian;
    Point(Value v, V g, V h) : value(v), gradient(g), hessian(h) {}
    Point(const Point& p) : value(p.value), gradient(p.gradient), hessian(p.hessian) {}
};

template <class T>
FASTLOSS_INLINE bool is_number(T x) {
    return x == x;
}

// The constant c, unless x is NaN: then NaN.
template <class T>
FASTLOSS_INLINE T unless_nan(T x, T c) {
    return is_number(x) ? c : x;
}

// (y - z)^2, without 1/2.
template <class T>
struct SquaredError {
    explicit SquaredError(const double*) {}
    bool label_ok(T y) const { return is_number(y); }
    Point<T> at(T y, T z) const {
        const T r = z - y;
        return {double(r) * double(r), 2 * r, T(2)};
    }
};

// |y - z|; at y = z the gradient is the subgradient 0. The second derivative is 0 wherever it exists.
template <class T>
struct AbsoluteError {
    explicit AbsoluteError(const double*) {}
    bool label_ok(T y) const { return is_number(y); }
    Point<T> at(T y, T z) const {
        const T r = z - y;
        return {double(vmath::abs(r)), r > 0 ? T(1) : (r < 0 ? T(-1) : r), unless_nan(r, T(0))};
    }
};

// r = z - y: r^2 / 2 where |r| <= delta, delta (|r| - delta / 2) outside. Huber (1964).
template <class T>
struct Huber {
    T delta;
    explicit Huber(const double* params) : delta(T(params[0])) {}
    bool label_ok(T y) const { return is_number(y); }
    Point<T> at(T y, T z) const {
        const T r = z - y;
        const T clipped = r > delta ? delta : (r < -delta ? -delta : r);
        const double c = clipped;
        // c (r - c / 2) is both branches in one.
        return {c * (double(r) - 0.5 * c), clipped, clipped == r ? T(1) : unless_nan(r, T(0))};
    }
};

// Pinball loss, u = y - z: q u where u >= 0, (q - 1) u where u < 0; at u = 0 the gradient is the subgradient 0.
// Koenker and Bassett (1978).
template <class T>
struct Quantile {
    T q, q_minus_one;  // each rounded once
    explicit Quantile(const double* params) : q(T(params[0])), q_minus_one(T(params[0] - 1)) {}
    bool label_ok(T y) const { return is_number(y); }
    Point<T> at(T y, T z) const {
        const T u = y - z;
        const T slope = u < 0 ? q_minus_one : q;
        return {double(u) * double(slope), u == 0 ? T(0) : unless_nan(u, -slope), unless_nan(u, T(0))};
    }
};

// exp(z) - y z: Poisson deviance without its constants, z the log of the mean; y >= 0.
template <class T>
struct Poisson {
    explicit Poisson(const double*) {}
    template <class V>
    FASTLOSS_INLINE auto label_ok(V y) {
        return (y >= 0) & (y < std::numeric_limits<T>::infinity());
    }
    static constexpr int prepared = 1;
    static constexpr bool by_registers = sizeof(T) == 8;  // y z may be too large for float
    template <bool derivatives>
    void prepare(int64_t n, const T*, const T* z, vmath::Next<T> next, T (*out)[prepared_stride]) const {
        vmath::exp(n, z, out[0], next);
    }
    template <class V>
    FASTLOSS_INLINE Point<V> at(V y, V z, V mean) {
        using Value = typename Point<V>::Value;
        const Value product = Value(y) * Value(z);
        const auto nothing = (y == 0) | (mean == std::numeric_limits<T>::infinity());  // inf - inf must stay inf
        return {Value(mean) - (nothing ? Value{} : product), mean - y, mean};
    }
};

// The two weights of binary cross-entropy, positive(y) * -log p + negative(y) * -log(1 - p), for labels in [0, 1]:
// y is smoothed towards 1/2, then the positive part is multiplied by pos_weight. Sums of non-negative terms, so that
// the weight s / 2 of a label's other side is exact to the last bits however small the smoothing s is. Their
// constants are rounded once, from double.
template <class T>
struct BinaryTarget {
    T positive_floor, positive_slope, negative_floor, negative_slope;
    explicit BinaryTarget(const double* params)
        : positive_floor(T(params[1] * (params[0] / 2))),
          positive_slope(T(params[1] * (1 - params[0]))),
          negative_floor(T(params[0] / 2)),
          negative_slope(T(1 - params[0])) {}
    static bool is_hard(const double* params) { return params[0] == 0 && params[1] == 1; }
    bool label_ok(T y) const { return y >= 0 && y <= 1; }
    T positive(T y) const { return positive_floor + positive_slope * y; }
    T negative(T y) const { return negative_floor + negative_slope * (1 - y); }
};

// Binary cross-entropy of the logit z for labels 0 and 1: with t = z for y = 0, -z for y = 1, it is
//     softplus(t) = max(t, 0) + log1p(exp(-|t|)),
// its gradient sigmoid(t) for y = 0 and -sigmoid(t) for y = 1.
template <class T>
struct SummedLogits;

template <class T>
struct HardLogits {
    explicit HardLogits(const double*) {}
    using Summed = SummedLogits<T>;
    static constexpr int prepared = 3;
    template <bool derivatives>
    void prepare(int64_t n, const T*, const T* z, vmath::Next<T> next, T (*out)[prepared_stride]) const {
        vmath::softplus_parts<T, derivatives>(n, z, out[0], out[1], out[2], next);
    }
    template <class V>
    FASTLOSS_INLINE Point<V> at(V y, V z, V e, V log1p_e, V large) {
        const V t = vmath::negate_if_one(z, y), small = e * large;  // sigmoid(|z|) is large, sigmoid(-|z|) small
        const V value = vmath::positive_part(t) + log1p_e;
        return {typename Point<V>::Value(value), vmath::negate_if_one(t > 0 ? large : small, y), small * large};
    }
};

// Of samples whose values are only summed: log1p(e) is left to rest().
template <class T>
struct SummedLogits {
    explicit SummedLogits(const double*) {}
    static constexpr int prepared = 1;
    static constexpr bool by_registers = true;
    template <bool derivatives>
    void prepare(int64_t n, const T*, const T* z, vmath::Next<T> next, T (*out)[prepared_stride]) const {
        vmath::exp_minus_abs(n, z, out[0], next);
    }
    template <class V>
    FASTLOSS_INLINE Point<V> at(V y, V z, V e) {
        return HardLogits<T>::at(y, z, e, V{}, 1 / (1 + e));
    }
    static double rest(int64_t n, T (*prepared)[prepared_stride]) { return vmath::sum_log1p(n, prepared[0]); }
};

// The same for labels in [0, 1] and any parameters. With a, b the target's weights,
//     a softplus(-z) + b softplus(z) = (a + b) log1p(exp(-|z|)) + (z > 0 ? b : a) |z|,
// sums of non-negative terms: nothing cancels. The gradient is b sigmoid(z) - a sigmoid(-z): for b = 0 it has full
// relative precision, where sigmoid(z) - 1 would cancel.
template <class T>
struct BinaryCrossEntropyLogits {
    BinaryTarget<T> target;
    using Hard = HardLogits<T>;
    static bool is_hard(const double* params) { return BinaryTarget<T>::is_hard(params); }
    explicit BinaryCrossEntropyLogits(const double* params) : target(params) {}
    bool label_ok(T y) const { return target.label_ok(y); }
    static constexpr int prepared = 3;
    template <bool derivatives>
    void prepare(int64_t n, const T*, const T* z, vmath::Next<T> next, T (*out)[prepared_stride]) const {
        vmath::softplus_parts<T, derivatives>(n, z, out[0], out[1], out[2], next);
    }
    Point<T> at(T y, T z, T e, T log1p_e, T inverse) const {
        const T a = target.positive(y), b = target.negative(y);
        const T sum = 1 + e;
        const T large = inverse - inverse * (inverse * (e - (sum - 1)));  // without the rounding error of the sum
        const T slope = z > 0 ? b : a;
        const T linear = slope == 0 ? T(0) : slope * vmath::abs(z);  // 0 * inf is 0 here
        // Of sigmoid(z) and sigmoid(-z) one is large, the other e * large: multiplied last, one rounding fewer.
        const T difference = z > 0 ? b - a * e : b * e - a;
        return {double((a + b) * log1p_e + linear), large * difference, (a + b) * (e * large * large)};
    }
};

// Clips a probability to [eps, 1 - eps]. In float32 1 - eps may round to 1, so the upper end is at most the largest
// number below 1. NaN stays NaN.
template <class T>
struct Clip {
    T lower, upper;
    explicit Clip(double eps) {
        using L = std::numeric_limits<T>;
        const T below_one = 1 - L::epsilon() / 2;
        lower = eps > 0 && T(eps) == 0 ? L::denorm_min() : T(eps);
        upper = eps > 0 && T(1 - eps) > below_one ? below_one : T(1 - eps);
    }
    template <class V>
    FASTLOSS_INLINE auto contains(V z) {
        return same_or_nan(bounded(z, T(0), T(1)), z);
    }
    template <class V>
    V operator()(V z) const {
        return bounded(z, lower, upper);
    }
    template <class V>
    auto leaves(V z) const {
        return same_or_nan(bounded(z, lower, upper), z);
    }

private:
    // One instruction each; comparisons of vectors are dearer than products.
    template <class V>
    FASTLOSS_INLINE V bounded(V z, T lower, T upper) {
        const V above = z < lower ? V{} + lower : z;
        return above > upper ? V{} + upper : above;
    }
    template <class V>
    FASTLOSS_INLINE auto same_or_nan(V a, V b) {
        return ((a < b) | (a > b)) == 0;
    }
};

// Binary cross-entropy of the probability z for labels 0 and 1: -log of what the label was given, z or 1 - z, after
// clipping. Outside the clip the loss is constant and its gradient 0.
template <class T>
struct HardProbabilities {
    Clip<T> clip;
    explicit HardProbabilities(const double* params) : clip(params[2]) {}
    template <class V>
    FASTLOSS_INLINE auto prediction_ok(V z) {
        return Clip<T>::contains(z);
    }
    // What the label was given, and the rounding error of 1 - p, which is not lost.
    template <class V>
    struct Given {
        V probability, rest;
    };
    template <class V>
    Given<V> given(V y, V z) const {
        const V p = clip(z), q = 1 - p;
        return {y > 0 ? p : q, y > 0 ? V{} : (1 - q) - p};
    }
    static constexpr int prepared = 2;
    static constexpr bool by_registers = true;
    template <bool derivatives>
    void prepare(int64_t n, const T* y, const T* z, vmath::Next<T> next, T (*out)[prepared_stride]) const {
        T probability[prepared_stride], rest[prepared_stride];
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
            const auto found = given(y[i], z[i]);
            probability[i] = found.probability;
            rest[i] = found.rest;
        }
        vmath::log_and_inverse<T, derivatives>(n, probability, rest, out[0], out[1], next);
    }
    template <class V>
    Point<V> at(V y, V z, V log_given, V inverse) const {
        const auto inside = clip.leaves(z);
        return {typename Point<V>::Value(-log_given), inside ? vmath::negate_if_one(inverse, y) : V{},
                inside ? inverse * inverse : V{}};
    }
};

// The same for labels in [0, 1] and any parameters.
template <class T>
struct BinaryCrossEntropyProbabilities {
    BinaryTarget<T> target;
    Clip<T> clip;
    using Hard = HardProbabilities<T>;
    static bool is_hard(const double* params) { return BinaryTarget<T>::is_hard(params); }
    explicit BinaryCrossEntropyProbabilities(const double* params) : target(params), clip(params[2]) {}
    bool label_ok(T y) const { return target.label_ok(y); }
    bool prediction_ok(T z) const { return Clip<T>::contains(z); }
    Point<T> at(T y, T z) const {
        const T a = target.positive(y), b = target.negative(y);
        const T p = clip(z), q = 1 - p;
        // A weight of 0 drops its term, even where the logarithm is infinite.
        const T positive = a == 0 ? T(0) : a * vmath::log(p);
        const T negative = b == 0 ? T(0) : b * vmath::log(q, (1 - q) - p);
        const T slope_p = a == 0 ? T(0) : a / p, slope_q = b == 0 ? T(0) : b / q;
        const bool inside = clip.leaves(z);
        const T flow = unless_nan(z, T(0));  // for a NaN whose terms have been dropped
        return {double(flow - (positive + negative)), inside ? flow + (slope_q - slope_p) : T(0),
                inside ? flow + ((a == 0 ? T(0) : slope_p / p) + (b == 0 ? T(0) : slope_q / q)) : T(0)};
    }
};

// Name and struct of each: what the tables of kernel.h are filled from.
#define FASTLOSS_LOSSES(LOSS)                                     \
    LOSS("squared_error", SquaredError)                           \
    LOSS("absolute_error", AbsoluteError)                         \
    LOSS("huber", Huber)                                          \
    LOSS("quantile", Quantile)                                    \
    LOSS("poisson", Poisson)                                      \
    LOSS("binary_cross_entropy_logits", BinaryCrossEntropyLogits) \
    LOSS("binary_cross_entropy_probabilities", BinaryCrossEntropyProbabilities)

}  // namespace fastloss
