"""What is inside the built files: needed libraries, exported symbols, neighbours, import cost.

Of the package that this Python imports: the tree's, or an installed one (test_wheel.py).
"""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import cyray

PACKAGE = Path(cyray.__file__).resolve().parent
EXTENSION = PACKAGE / f"_raylet{sysconfig.get_config_var('EXT_SUFFIX')}"
DAEMONS = [PACKAGE / "_bin" / name for name in ("raylet", "gcs_server")]

# The loader and, on older C libraries, the parts that have since become libc.
LIBC = {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
LIBSTDCXX = {"libstdc++.so.6", "libgcc_s.so.1"}
FOREIGN = re.compile(r"grpc|protobuf|absl|(?<![a-z])SSL_|EVP_|OPENSSL|sqlite3_|ares_init", re.ASCII)

needs_binutils = pytest.mark.skipif(
    shutil.which("readelf") is None or shutil.which("nm") is None, reason="binutils not installed"
)


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needed_libraries(path: Path) -> set[str]:
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", output("readelf", "-d", str(path))))


def run_python(code: str) -> str:
    return output(sys.executable, "-c", code)


@needs_binutils
@pytest.mark.parametrize("daemon", DAEMONS, ids=lambda path: path.name)
def test_daemons_need_only_the_c_library(daemon: Path) -> None:
    assert needed_libraries(daemon) <= LIBC


@needs_binutils
def test_extension_needs_only_the_c_and_cxx_libraries() -> None:
    assert needed_libraries(EXTENSION) <= LIBC | LIBSTDCXX


@needs_binutils
def test_extension_exports_its_init_function_and_nothing_else() -> None:
    exported = output("nm", "-D", "--defined-only", str(EXTENSION)).split("\n")
    names = [line.split()[-1] for line in exported if line.strip()]
    assert names == ["PyInit__raylet"]


@needs_binutils
def test_extension_contains_no_grpc_protobuf_abseil_or_openssl() -> None:
    symbols = output("nm", "-a", "-C", str(EXTENSION)) + output("nm", "-D", "-C", str(EXTENSION))
    assert FOREIGN.findall(symbols) == []


@needs_binutils
@pytest.mark.parametrize("path", [*DAEMONS, EXTENSION], ids=lambda path: path.name)
def test_no_stack_is_executable_and_no_text_is_relocated(path: Path) -> None:
    headers = output("readelf", "-lW", str(path))
    assert not re.search(r"GNU_STACK.*RWE", headers)
    assert "TEXTREL" not in output("readelf", "-d", str(path))


@pytest.mark.parametrize(
    "order",
    list(itertools.permutations(["cyray", "grpc", "google.protobuf.message", "pyarrow"])),
    ids=lambda order: "-".join(name.split(".")[-1] for name in order),
)
def test_import_beside_libraries_with_their_own_grpc_in_any_order(order: tuple[str, ...]) -> None:
    imports = "\n".join(f"import {name}" for name in order)
    use = """
import grpc, pyarrow, cyray, cyray._raylet
assert pyarrow.array([1, 2, 3]).to_pylist() == [1, 2, 3]
channel = grpc.insecure_channel("localhost:1"); channel.close()
print("fine")
"""
    assert run_python(imports + use) == "fine\n"


def test_import_brings_neither_numpy_nor_pyarrow() -> None:
    code = "import cyray, sys; print(sorted({'numpy', 'pyarrow', 'asyncio'} & set(sys.modules)))"
    assert run_python(code) == "[]\n"


def test_import_brings_four_modules_of_the_package_and_few_of_python() -> None:
    code = (
        "import sys; before = set(sys.modules); import cyray; new = set(sys.modules) - before;"
        "print(*sorted(n for n in new if n.partition('.')[0] == 'cyray'));"
        "print(*sorted(n for n in new if n.partition('.')[0] != 'cyray'))"
    )
    ours, others = run_python(code).splitlines()
    assert ours.split() == ["cyray", "cyray._compat", "cyray._hooks", "cyray._raylet"]
    assert len(others.split()) <= 45, others


def test_init_brings_neither_numpy_nor_asyncio() -> None:
    code = """
import sys
import cyray._driver.init, cyray._api.remote, cyray._api.actor_class, cyray._api.task
print(sorted({'numpy', 'asyncio', 'subprocess', 'multiprocessing'} & set(sys.modules)))
"""
    assert run_python(code) == "[]\n"


IMPORT_EACH = """
import importlib, os, sys
failed = []
for name in sys.argv[1:]:
    pid = os.fork()  # before anything of the package is imported
    if pid == 0:
        try:
            importlib.import_module(name)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        failed.append(name)
print(failed)
"""


def test_every_module_of_the_package_imports_alone() -> None:
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "__main__.py"
    ]
    assert len(modules) > 50
    assert output(sys.executable, "-c", IMPORT_EACH, *modules) == "[]\n"


def test_the_version_is_the_same_everywhere() -> None:
    root = Path(__file__).resolve().parent.parent  # also when the package is an installed one
    version = run_python("import cyray; print(cyray.__version__)").strip()
    assert f'version = "{version}"' in (root / "pyproject.toml").read_text()
    assert f"project(cyray VERSION {version} " in (root / "CMakeLists.txt").read_text()
    assert f"\n## {version} " in (root / "CHANGELOG.md").read_text()


def test_what_ray_has_and_cyray_has_not_yet_is_told() -> None:
    code = """
import cyray
try:
    cyray.timeline
except AttributeError as error:
    print(error)
print(hasattr(cyray, "nonsense"))
"""
    told, other = run_python(code).splitlines()
    assert told.startswith("cyray.timeline is not there yet")
    assert other == "False"
