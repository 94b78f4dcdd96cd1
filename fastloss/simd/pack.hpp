// Some numbers in a register, in the vectors of gcc and clang: for loops that a compiler left alone would take through
// memory, as gcc does with several sums of `omp simd`, whose lanes it then adds one by one (a sixth of a pass).
#pragma once
#include <cstring>

#include "vmath.hpp"
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__GNUC__)
namespace fastloss {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

#if defined(__AVX512F__)
FASTLOSS_INLINE double sum_of_64_bytes(__m512d v) { return _mm512_reduce_add_pd(v); }
FASTLOSS_INLINE float sum_of_64_bytes(__m512 v) { return _mm512_reduce_add_ps(v); }
#endif

template <class T, int bytes>
struct Pack {
    typedef T Vector __attribute__((vector_size(bytes)));
    static constexpr int lanes = bytes / sizeof(T);
    static Vector load(const T* x) {
        Vector v;
        std::memcpy(&v, x, sizeof v);
        return v;
    }
    static void store(T* to, Vector v) { std::memcpy(to, &v, sizeof v); }
    static T sum(Vector v) {
        if constexpr (bytes == 16) {
            T sum = v[0];
            for (int k = 1; k < lanes; ++k) sum += v[k];
            return sum;
        } else {
#if defined(__AVX512F__)
            // gcc keeps a wide vector whose parts are copied in memory, from its first sum on.
            if constexpr (bytes == 64) return sum_of_64_bytes(v);
#endif
            using Half = Pack<T, bytes / 2>;
            typename Half::Vector low, high;
            std::memcpy(&low, &v, sizeof low);
            std::memcpy(&high, reinterpret_cast<const char*>(&v) + sizeof low, sizeof high);
            return Half::sum(low + high);
        }
    }
};

}  // namespace fastloss
#endif
