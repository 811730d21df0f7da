"""The one part of the installation that pyproject.toml cannot say: the box kernels, built where a C compiler is."""

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

boxes = Extension(
    "readers._boxes",
    ["readers/_boxes.pyx"],
    include_dirs=[numpy.get_include()],
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
)
kernels = cythonize([boxes], language_level=3)
for kernel in kernels:
    kernel.optional = True  # said here because cythonize makes extensions of its own and forgets it
setup(ext_modules=kernels)
