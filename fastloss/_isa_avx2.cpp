#include "_isa.hpp"

FASTLOSS_ISA_MODULE(_isa_avx2)
