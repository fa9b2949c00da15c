"""The size check counts what a person would count."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import check_sizes

CXX = """
// A comment with { and ( in it.
#define MACRO(x) { x }
namespace a {
struct B {
  B(int x, std::map<int, int> y) : x_{x}, y_(std::move(y)) { Init(); }
  bool operator==(const B&) const = default;
  void Run() const noexcept override {
    auto f = [](int a, int b) { return a + b; };
    if (f(1, 2)) {
      Call("}");
    }
  }
  int z = Make(3, 4);
};
template <class T, class U>
auto Free(T a, U b, std::function<void(int, int)> c, int d = F(1, 2)) -> Result<int> {
  return a;
}
}  // namespace a
"""

PYX = '''
cdef extern from "x.h":
    int c_function(int a, int b)

cdef class C:
    cdef int f(self, int a,
               int b) except -1:
        return a

    def g(self, a=(1, 2)):
        """Doc."""
        x = 1

        return x
'''


def found(functions: object) -> dict[str, tuple[int, int]]:
    return {f.name: (f.lines, f.parameters) for f in functions}  # type: ignore[attr-defined]


def test_cxx_functions_are_found_with_their_lengths_and_parameters() -> None:
    assert found(check_sizes.cxx_functions(CXX)) == {"B": (1, 2), "Run": (6, 0), "Free": (4, 4)}


def test_cython_functions_are_found_and_declarations_are_not() -> None:
    assert found(check_sizes.cython_functions(PYX)) == {"f": (3, 2), "g": (5, 1)}


def test_python_docstrings_do_not_count() -> None:
    source = 'def f(self, a, *, b):\n    """One.\n\n    Two.\n    """\n    return a\n'
    assert found(check_sizes.python_functions(source)) == {"f": (2, 2)}


@pytest.mark.parametrize(
    ("path", "line", "fine"),
    [
        ("cpp/cyray/wire/a.h", '#include "cyray/util/log.h"', True),
        ("cpp/cyray/util/a.h", '#include "cyray/wire/frame.h"', False),
        ("cpp/cyray/core/a.cc", '#include "cyray/gcs/client.h"', False),
        ("cpp/cyray/core/a.cc", "#include <grpcpp/grpcpp.h>", False),
        ("cpp/cyray/gcs/a.cc", "#include <sqlite3.h>", True),
    ],
)
def test_layers_include_only_what_is_below_them(path: str, line: str, fine: bool) -> None:
    assert (list(check_sizes.layer_breaches(path, line + "\n")) == []) == fine
