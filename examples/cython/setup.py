"""Builds cython_examples: one extension module per .pyx file.

pip install scipy   # for the BLAS example
pip install -e .
python cython_main.py --help
"""

from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

HERE = Path(__file__).resolve().parent
PACKAGE = "cython_examples"


def extensions() -> list[Extension]:
    sources = sorted((HERE / PACKAGE).glob("*.pyx"))
    return [
        Extension(
            f"{PACKAGE}.{source.stem}",
            [str(source.relative_to(HERE))],
            include_dirs=[numpy.get_include()],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        )
        for source in sources
    ]


setup(
    name="cython-examples",
    version="0.1.0",
    description="Cython functions and classes as cyray tasks and actors",
    packages=[PACKAGE],
    package_data={PACKAGE: ["*.pyx"]},
    ext_modules=cythonize(
        extensions(), build_dir="build", compiler_directives={"language_level": 3}, quiet=True
    ),
    install_requires=["numpy", "click"],
    extras_require={"blas": ["scipy"]},
    zip_safe=False,
)
