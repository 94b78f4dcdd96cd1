// Small symmetric systems, in double.
#pragma once
#include <cstdint>

#include "dense.hpp"
#include "table.hpp"

namespace fastloss {

// A x = b by elimination, with A symmetric. Of its n rows the numbers from the diagonal on count, and b behind them;
// the others must be finite, for rows are worked on eight numbers at a time, from a multiple of eight on. Where a pivot
// is not more than its least, x is 0 and solves the equations of the others.
static void solve(int64_t n, double* a, const double* least, double* x) {
    const int64_t stride = solve_stride(n);
    for (int64_t i = 0; i < n; ++i) {
        const double* pivot = a + i * stride;
        if (!(pivot[i] > least[i])) continue;
        const double inverse = 1 / pivot[i];
        for (int64_t r = i + 1; r < n; ++r) {
            const double share = pivot[r] * inverse;
            double* row = a + r * stride;
            for (int64_t j = r / 8 * 8; j < stride; j += 8) {
#pragma omp simd
                for (int64_t k = j; k < j + 8; ++k) row[k] -= share * pivot[k];
            }
        }
    }
    for (int64_t i = n - 1; i >= 0; --i) {
        const double* row = a + i * stride;
        const double rest = row[n] - dot_row(row + i + 1, n - i - 1, x + i + 1);
        x[i] = row[i] > least[i] ? rest / row[i] : 0;
    }
}

}  // namespace fastloss
