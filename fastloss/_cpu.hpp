// What the CPU can run, and OpenMP's thread counts where there is OpenMP.
#pragma once
#ifdef _OPENMP
#include <omp.h>
#endif

#if defined(__x86_64__) || defined(_M_X64)
#if defined(_MSC_VER) && !defined(__clang__)
#include <immintrin.h>
#include <intrin.h>

static inline bool fastloss_cpu_bits(int leaf, int reg, unsigned bits) {
    int info[4];
    __cpuidex(info, 0, 0);
    if (info[0] < leaf) return false;
    __cpuidex(info, leaf, 0);
    return (unsigned(info[reg]) & bits) == bits;
}
// The registers must be saved by the operating system as well.
static inline bool fastloss_os_saves(unsigned long long state) {
    return fastloss_cpu_bits(1, 2, 1u << 27) && (_xgetbv(0) & state) == state;
}
static inline bool fastloss_cpu_has_avx2() {
    return fastloss_os_saves(6) && fastloss_cpu_bits(1, 2, 1u << 12) && fastloss_cpu_bits(7, 1, 1u << 5);
}
static inline bool fastloss_cpu_has_avx512() {
    return fastloss_cpu_has_avx2() && fastloss_os_saves(0xe6) &&
           fastloss_cpu_bits(7, 1, 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31);
}
#else
static inline bool fastloss_cpu_has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
static inline bool fastloss_cpu_has_avx512() {
    return fastloss_cpu_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
}
#endif
#else
static inline bool fastloss_cpu_has_avx2() { return false; }
static inline bool fastloss_cpu_has_avx512() { return false; }
#endif

#if defined(__clang__)
#define FASTLOSS_COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define FASTLOSS_COMPILER "gcc " __VERSION__
#elif defined(_MSC_VER)
#define FASTLOSS_STRING_(x) #x
#define FASTLOSS_STRING(x) FASTLOSS_STRING_(x)
#define FASTLOSS_COMPILER "MSVC " FASTLOSS_STRING(_MSC_VER)
#else
#define FASTLOSS_COMPILER "unknown"
#endif

#ifdef _OPENMP
static inline int fastloss_openmp() { return _OPENMP; }
static inline int fastloss_max_threads() { return omp_get_max_threads(); }
#else
static inline int fastloss_openmp() { return 0; }
static inline int fastloss_max_threads() { return 1; }
#endif
