"""Tests of Python modules that need no cluster. A package, so that names may repeat those of tests/."""
