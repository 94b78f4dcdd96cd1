/* The floors that the targets refer to: what moving the bytes alone costs. loops.py compiles this when it is asked for,
   with -march=native, since it runs only where it was compiled. Chunks go to whichever thread is free, so that a thread
   that was interrupted does not hold up the rest; the package does the same. */

#include <stdint.h>
#if defined(__AVX__) || defined(__SSE2__)
#include <immintrin.h>
#endif

enum { CHUNK = 1 << 15 };

#if defined(__AVX512F__)
enum { WIDTH = 8 };
#define STREAM(a, b, c) _mm512_stream_pd(c, _mm512_sub_pd(_mm512_loadu_pd(a), _mm512_loadu_pd(b)))
#elif defined(__AVX__)
enum { WIDTH = 4 };
#define STREAM(a, b, c) _mm256_stream_pd(c, _mm256_sub_pd(_mm256_loadu_pd(a), _mm256_loadu_pd(b)))
#elif defined(__SSE2__)
enum { WIDTH = 2 };
#define STREAM(a, b, c) _mm_stream_pd(c, _mm_sub_pd(_mm_loadu_pd(a), _mm_loadu_pd(b)))
#endif

static int64_t chunk_end(int64_t start, int64_t n) { return n - start < CHUNK ? n : start + CHUNK; }

/* Two arrays read, a third written. */
void subtract_plain(const double* restrict a, const double* restrict b, double* restrict c, int64_t n, int threads) {
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t start = 0; start < n; start += CHUNK) {
        const int64_t end = chunk_end(start, n);
        for (int64_t i = start; i < end; ++i) c[i] = a[i] - b[i];
    }
}

/* The same past the caches: the lines of c are not read before they are written. Without such stores, the plain loop.
 */
void subtract_stream(const double* restrict a, const double* restrict b, double* restrict c, int64_t n, int threads) {
#ifdef STREAM
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t start = 0; start < n; start += CHUNK) {
        const int64_t end = chunk_end(start, n);
        int64_t i = start;
        for (; i < end && (uintptr_t)(c + i) % (WIDTH * sizeof(double)); ++i) c[i] = a[i] - b[i];
        for (; i + WIDTH <= end; i += WIDTH) STREAM(a + i, b + i, c + i);
        for (; i < end; ++i) c[i] = a[i] - b[i];
        _mm_sfence();
    }
#else
    subtract_plain(a, b, c, n, threads);
#endif
}

/* One array read. Enough independent sums that memory is the limit, not the latency of an addition. */
double sum(const double* x, int64_t n, int threads) {
    enum { LANES = 32 };
    double total = 0;
#pragma omp parallel for num_threads(threads) schedule(dynamic) reduction(+ : total)
    for (int64_t start = 0; start < n; start += CHUNK) {
        const int64_t end = chunk_end(start, n);
        double lanes[LANES] = {0};
        int64_t i = start;
        for (; i + LANES <= end; i += LANES)
            for (int k = 0; k < LANES; ++k) lanes[k] += x[i + k];
        for (; i < end; ++i) lanes[0] += x[i];
        for (int k = 0; k < LANES; ++k) total += lanes[k];
    }
    return total;
}
