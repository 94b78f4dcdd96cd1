"""Everything that needs Numba: how functions of the user's own become block kernels."""
