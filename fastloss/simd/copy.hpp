// Moves blocks between arrays of any layout and contiguous scratch: what lets kernels see contiguous blocks only.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "vmath.hpp"
#if defined(__SSE2__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace fastloss {

// The dtypes that gather converts, in this order.
#define FASTLOSS_DTYPES(DTYPE) \
    DTYPE(float)               \
    DTYPE(double)              \
    DTYPE(int8_t)              \
    DTYPE(int16_t)             \
    DTYPE(int32_t)             \
    DTYPE(int64_t)             \
    DTYPE(uint8_t)             \
    DTYPE(uint16_t)            \
    DTYPE(uint32_t)            \
    DTYPE(uint64_t)

// Calls run(offset in bytes, stride in bytes, count) for each run along the last axis, of the elements `start` to
// `start + count` in C order of an array of the given shape and strides.
template <class Run>
FASTLOSS_INLINE void each_run(int ndim, const ptrdiff_t* shape, const ptrdiff_t* strides, int64_t start, int64_t count,
                              Run run) {
    while (count > 0) {
        int64_t rest = start, offset = 0;
        for (int axis = ndim - 1; axis >= 0; --axis) {
            offset += rest % shape[axis] * strides[axis];
            rest /= shape[axis];
        }
        const int64_t last = ndim ? shape[ndim - 1] : 1;
        int64_t length = last - start % last;
        length = length < count ? length : count;
        run(offset, ndim ? strides[ndim - 1] : 0, length);
        start += length;
        count -= length;
    }
}

// memcpy in place of dereferencing: elements may be unaligned.
template <class From, class To>
static void gather(const char* data, int ndim, const ptrdiff_t* shape, const ptrdiff_t* strides, int64_t start,
                   int64_t count, To* out) {
    each_run(ndim, shape, strides, start, count, [&](int64_t offset, ptrdiff_t stride, int64_t length) {
        const char* from = data + offset;
        From x;
        if (stride == ptrdiff_t(sizeof(From))) {
            for (int64_t i = 0; i < length; ++i) {
                std::memcpy(&x, from + i * ptrdiff_t(sizeof(From)), sizeof x);
                out[i] = To(x);
            }
        } else {
            for (int64_t i = 0; i < length; ++i) {
                std::memcpy(&x, from + i * stride, sizeof x);
                out[i] = To(x);
            }
        }
        out += length;
    });
}

template <class T>
static void scatter(const T* from, char* data, int ndim, const ptrdiff_t* shape, const ptrdiff_t* strides,
                    int64_t start, int64_t count) {
    each_run(ndim, shape, strides, start, count, [&](int64_t offset, ptrdiff_t stride, int64_t length) {
        for (int64_t i = 0; i < length; ++i) std::memcpy(data + offset + i * stride, from + i, sizeof(T));
        from += length;
    });
}

// Asks for n bytes that will be read soon; they may lie outside of any array. Inlined always: gcc takes a function that
// does nothing else for one without effects, and leaves out its calls.
FASTLOSS_INLINE void prefetch(const char* from, int64_t n) {
#if defined(__SSE2__) || defined(_M_X64)
    for (int64_t i = 0; i < n; i += 64) _mm_prefetch(from + i, _MM_HINT_T0);
#elif defined(__GNUC__)
    for (int64_t i = 0; i < n; i += 64) __builtin_prefetch(from + i);
#else
    (void)from, (void)n;
#endif
}

// Asks for one line that will be read in a while, into the second cache: such lines do not wait in the queue of the
// first one, which holds about 24.
FASTLOSS_INLINE void prefetch_far(const char* from) {
#if defined(__SSE2__) || defined(_M_X64)
    _mm_prefetch(from, _MM_HINT_T1);
#elif defined(__GNUC__)
    __builtin_prefetch(from, 0, 2);
#else
    (void)from;
#endif
}

// One cache line, past the caches.
#if defined(__AVX512F__)
static inline void stream_line(const char* from, char* to) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), _mm512_loadu_si512(from));
}
#elif defined(__AVX__)
static inline void stream_line(const char* from, char* to) {
    for (int part = 0; part < 64; part += 32)
        _mm256_stream_si256(reinterpret_cast<__m256i*>(to + part),
                            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + part)));
}
#elif defined(__SSE2__) || defined(_M_X64)
static inline void stream_line(const char* from, char* to) {
    for (int part = 0; part < 64; part += 16)
        _mm_stream_si128(reinterpret_cast<__m128i*>(to + part),
                         _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + part)));
}
#endif

static inline bool starts_line(const void* address) { return reinterpret_cast<uintptr_t>(address) % 64 == 0; }

// Copies to memory past the caches. An ordinary store first reads the line it is about to overwrite; for an output
// that no cache will hold, that is a quarter of the traffic of a loss with two inputs. In bytes.
static void stream(const char* from, char* to, int64_t n) {
#if defined(__SSE2__) || defined(_M_X64)
    // Whole cache lines, so that the write-combining buffers are flushed full.
    int64_t i = std::min(n, int64_t(-reinterpret_cast<uintptr_t>(to) & 63));
    if (i) std::memcpy(to, from, size_t(i));
    for (; i + 64 <= n; i += 64) stream_line(from + i, to + i);
    if (i < n) std::memcpy(to + i, from + i, size_t(n - i));
#else
    std::memcpy(to, from, size_t(n));
#endif
}

// Makes streamed stores visible to other threads; once at the end of a thread's share.
static inline void stream_fence() {
#if defined(__SSE2__) || defined(_M_X64)
    _mm_sfence();
#endif
}

}  // namespace fastloss
