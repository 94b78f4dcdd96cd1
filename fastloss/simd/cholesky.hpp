// Cholesky's factorisation of small matrices, in double.
#pragma once
#include <cmath>
#include <cstdint>

#include "table.hpp"
#include "vmath.hpp"

namespace fastloss {

// U' U = A in place, of A's upper triangle, rows `stride` numbers apart. They are worked on eight numbers at a time,
// from multiples of eight to multiples of eight: there must be so many, and those not of the triangle finite. Where a
// pivot is not more than its least, its row becomes 0 and the pivot huge, and so next to 0 what is solved for there.
static void cholesky(int64_t n, double* a, int64_t stride, const double* least) {
    const int64_t width = (n + 7) / 8 * 8;
    for (int64_t i = 0; i < n; ++i) {
        double* pivot = a + i * stride;
        const int64_t first = i / 8 * 8;
        const bool counts = pivot[i] > least[i];
        const double scale = counts ? 1 / std::sqrt(pivot[i]) : 0;
#pragma omp simd
        for (int64_t j = first; j < width; ++j) pivot[j] *= scale;
        if (!counts) {
            pivot[i] = 1e150;
            continue;
        }
        for (int64_t r = i + 1; r < n; ++r) {
            const double share = pivot[r];
            double* row = a + r * stride;
            for (int64_t j = r / 8 * 8; j < width; j += 8) {
#pragma omp simd
                for (int64_t k = j; k < j + 8; ++k) row[k] -= share * pivot[k];
            }
        }
    }
}

}  // namespace fastloss
