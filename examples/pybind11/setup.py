"""Builds pybind_examples, a module of C++ functions and a class: `pip install -e .`."""

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import setup

setup(
    name="pybind-examples",
    version="0.1.0",
    description="C++ functions and classes as cyray tasks and actors",
    ext_modules=[Pybind11Extension("pybind_examples", ["pybind_examples.cc"], cxx_std=17)],
    cmdclass={"build_ext": build_ext},
    zip_safe=False,
)
