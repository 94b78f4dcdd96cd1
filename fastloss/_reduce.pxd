from fastloss._runtime cimport fastloss_kernel


cdef class BlockLoss:
    cdef fastloss_kernel kernel
    cdef fastloss_kernel soft  # for rows of probabilities as labels, where a sample has several outputs
    cdef double *parameters
    cdef bint streams, asks, goes_past  # see table.hpp
    cdef readonly bint rereads  # whether the kernel reads a row again after it began to write its gradient


cdef const fastloss_kernel *kernel_of(BlockLoss loss, bint single) except NULL
