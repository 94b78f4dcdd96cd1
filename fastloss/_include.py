"""Where compilers find what the package declares for C and Cython."""

from __future__ import annotations


def get_include() -> str:
    """The folder for ``include_dirs`` of C and ``include_path`` of Cython: the one that contains the package.

    Returns
    -------
    str
        With it ``#include "fastloss/simd/kernel.h"`` works in C and C++, and ``cimport fastloss`` in Cython.

    Examples
    --------
    In the ``setup.py`` of a module that is written in Cython:

    >>> import fastloss
    >>> from setuptools import Extension
    >>> module = Extension("online", ["online.pyx"], include_dirs=[fastloss.get_include()])

    and then ``cythonize([module], include_path=[fastloss.get_include()])``.
    """
    from pathlib import Path  # importing it takes as long as a quarter of the package

    return str(Path(__file__).resolve().parents[1])
