"""Builds the example: ``python setup.py build_ext --inplace``."""

from Cython.Build import cythonize
from setuptools import Extension, setup

import fastloss

root = fastloss.get_include()
setup(
    name="online",
    ext_modules=cythonize([Extension("online", ["online.pyx"], include_dirs=[root])], include_path=[root]),
)
