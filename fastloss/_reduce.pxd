from fastloss._runtime cimport fastloss_kernel


cdef class BlockLoss:
    cdef fastloss_kernel kernel
    cdef double *parameters
    cdef bint streams  # see table.hpp


cdef const fastloss_kernel *kernel_of(BlockLoss loss) except NULL
