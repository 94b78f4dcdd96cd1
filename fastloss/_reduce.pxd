from fastloss._runtime cimport fastloss_kernel


cdef class BlockLoss:
    cdef fastloss_kernel kernel
    cdef double *parameters


cdef const fastloss_kernel *kernel_of(BlockLoss loss) except NULL
