// Fills the table of table.hpp. A source file that includes this one and is compiled with the flags of an instruction
// set has made that instruction set's table.
#pragma once
#include "blocks.hpp"
#include "categorical.hpp"
#include "cholesky.hpp"
#include "copy.hpp"
#include "dense.hpp"
#include "gram.hpp"
#include "product.hpp"
#include "sparse.hpp"
#include "table.hpp"

namespace fastloss {

template <class T, T (*function)(T)>
static void map(int64_t n, const T* x, T* out) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) out[i] = function(x[i]);
}

template <class T>
static Operations<T> operations() {
#define FASTLOSS_GATHER(From) gather<From, T>,
    return {sum_weights<T>,
            {dense_rows_operations<T>(), dense_columns_operations<T>(), csr_operations<T, int32_t>(),
             csr_operations<T, int64_t>(), csc_operations<T, int32_t>(), csc_operations<T, int64_t>()},
            product_operations<T>(),
            gram_operations<T>(),
            {FASTLOSS_DTYPES(FASTLOSS_GATHER)},
            scatter<T>,
            {vmath::exp<T>, vmath::log<T>, vmath::log1p<T>, map<T, vmath::sigmoid<T>>}};
#undef FASTLOSS_GATHER
}

static const Table* table() {
#define FASTLOSS_ENTRY(name, Loss)                                               \
    {name,                                                                       \
     1,                                                                          \
     1,                                                                          \
     scalar_block<float, Loss<float>>,                                           \
     scalar_block<double, Loss<double>>,                                         \
     nullptr,                                                                    \
     nullptr,                                                                    \
     bound_by_memory<Loss<double>>(),                                            \
     prepared_numbers<Loss<double>>::value > 0 || has_hard<Loss<double>>::value, \
     true},
#define FASTLOSS_CATEGORICAL_ENTRY(name, block, weigh, soft, asks) \
    {name,                                                         \
     soft ? 0 : 1,                                                 \
     0,                                                            \
     block<float, soft>,                                           \
     block<double, soft>,                                          \
     weigh<float, soft>,                                           \
     weigh<double, soft>,                                          \
     bound_by_memory<SquaredError<double>>(),                      \
     asks,                                                         \
     false},
    static const LossEntry losses[] = {FASTLOSS_LOSSES(FASTLOSS_ENTRY)
                                           FASTLOSS_CATEGORICAL_LOSSES(FASTLOSS_CATEGORICAL_ENTRY)};
#undef FASTLOSS_ENTRY
#undef FASTLOSS_CATEGORICAL_ENTRY
    static const Table table = {int32_t(sizeof losses / sizeof *losses),
                                losses,
                                operations<float>(),
                                operations<double>(),
                                prefetch,
                                stream,
                                stream_fence,
                                dot,
                                add,
                                add_single,
                                add_both,
                                rotate,
                                cholesky,
                                sparse_dot_f64,
                                sparse_add_f64,
                                sparse_add_both};
    return &table;
}

}  // namespace fastloss
