"""Measures what the style asks for: lengths of functions and files, parameters, file comments, layers.

Usage: `python tools/check_sizes.py [FILE...]`; without files, every file that git knows. Prints one
line a breach and exits with 1 when there is any. Exceptions are named in tools/size_exceptions.txt
with their reason, and one that is no longer needed is a breach too, so the list only shrinks.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_FUNCTION_LINES = 70
MAX_FILE_LINES = 600
MAX_TEST_FILE_LINES = 800
MAX_PARAMETERS = 6
EXCEPTIONS = Path(__file__).with_name("size_exceptions.txt")

BELOW = {
    "util": {"util"},
    "common": {"util", "common"},
    "wire": {"util", "common", "wire"},
    "store": {"util", "common", "wire", "store"},
    "core": {"util", "common", "wire", "store", "core"},
    "sched": {"util", "common", "sched"},
    "crypto": {"util", "common", "crypto"},
    "net": {"util", "common", "wire", "crypto", "net"},
    "gcs": {"util", "common", "wire", "crypto", "net", "sched", "gcs"},
    "raylet": {"util", "common", "wire", "store", "crypto", "net", "sched", "gcs", "raylet"},
    "sim": {"util", "sim"},
}
DAEMON_LAYERS = {"crypto", "net", "gcs", "raylet"}
DAEMON_LIBRARIES = re.compile(
    r'#include [<"](grpc|grpcpp|openssl|sqlite3|absl|google/protobuf|event2)'
)


@dataclass(frozen=True)
class Breach:
    path: str
    line: int
    what: str  # the key of an exception: "function NAME lines", "file lines", ...
    text: str


@dataclass(frozen=True)
class Function:
    name: str
    line: int
    lines: int
    parameters: int


# --- C++ ------------------------------------------------------------------------------------------


def blank_out(source: str) -> str:
    """The same text with comments, literals and preprocessor lines as spaces; lines stay."""

    def spaces(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match.group())

    pattern = re.compile(
        r'R"(?P<tag>[^(\s]*)\(.*?\)(?P=tag)"'
        r'|//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])+\''
        r"|^[ \t]*#(?:\\\n|[^\n])*",
        re.DOTALL | re.MULTILINE,
    )
    return pattern.sub(spaces, source)


def split_parameters(text: str) -> int:
    """How many parameters the text between a function's parentheses declares."""
    if text.strip() in ("", "void"):
        return 0
    depth = 0
    count = 1
    for char in text:
        if char in "([{<":
            depth += 1
        elif char in ")]}>":
            depth -= 1
        elif char == "," and depth == 0:
            count += 1
    return count


def first_parentheses(text: str) -> tuple[str, str] | None:
    """(what stands before, what stands inside) of the parameter list in a declaration."""
    depth = 0
    start = -1
    angle = 0
    for i, char in enumerate(text):
        if depth == 0 and char == "<" and not text[:i].rstrip().endswith("operator"):
            angle += 1
        elif depth == 0 and char == ">" and angle > 0 and text[i - 1] != "-":
            angle -= 1
        elif char == "(" and angle == 0:
            if depth == 0:
                start = i
            depth += 1
        elif char == ")" and angle == 0:
            depth -= 1
            if depth == 0:
                before = text[:start]
                if re.search(r"\b(__attribute__|alignas|decltype|requires|explicit)\s*$", before):
                    continue
                return before, text[start + 1 : i]
    return None


CONTAINER = re.compile(r"\b(namespace|class|struct|union|enum|extern)\b[^()=]*$")


def cxx_functions(source: str) -> Iterator[Function]:
    text = blank_out(source)
    stack: list[tuple[str, int, str]] = []  # kind, offset of the statement, statement
    start = 0
    for match in re.finditer(r"[{};]", text):
        at = match.start()
        inside_function = any(kind == "function" for kind, _, _ in stack)
        if match.group() == "{":
            statement = text[start:at]
            kind = "other"
            if not inside_function:
                kind = kind_of_block(statement)
                if kind == "initializer":
                    stack.append((kind, start, statement))
                    continue
            stack.append((kind, start, statement))
            start = at + 1
        elif match.group() == "}":
            if not stack:
                continue
            kind, begin, statement = stack.pop()
            if kind == "function":
                yield describe(text, statement, begin, at)
            if kind == "initializer":
                continue  # the declaration goes on
            start = at + 1
        elif not any(kind == "initializer" for kind, _, _ in stack):
            start = at + 1


def kind_of_block(statement: str) -> str:
    stripped = statement.strip()
    if re.search(r"\btemplate\s*<", stripped):
        stripped = re.sub(r"\btemplate\s*<[^{]*?>\s*(?=[\w\[])", "", stripped, count=1)
    parentheses = first_parentheses(stripped)
    if parentheses is None:
        return "container" if CONTAINER.search(stripped) else "other"
    # An attribute or macro with parentheses may stand before a class's name.
    names_class = re.search(r"\b(class|struct|union)\b", parentheses[0])
    if names_class and CONTAINER.search(re.sub(r"\([^()]*\)", "", stripped)):
        return "container"
    if re.search(r"[^=!<>]=[^=]*$", parentheses[0]) and "operator" not in parentheses[0]:
        return "other"  # a variable with a braced initialiser or a lambda
    after = stripped[len(parentheses[0]) + len(parentheses[1]) + 2 :]
    if re.match(r"[^:]*:(?!:)", after) and re.search(r"[\w>]\s*$", after):
        return "initializer"  # a_{...} in a constructor's list
    return "function"


def describe(text: str, statement: str, begin: int, end: int) -> Function:
    lead = len(statement) - len(re.sub(r"^(\s|public:|private:|protected:)*", "", statement))
    first_line = text.count("\n", 0, begin + lead) + 1
    before, inside = first_parentheses(statement.strip()) or ("?", "")
    name = (re.findall(r"[~\w:]+|operator\S+", before) or ["?"])[-1]
    lines = text.count("\n", begin + lead, end) + 1
    return Function(name.split("::")[-1], first_line, lines, split_parameters(inside))


def layer_breaches(path: str, source: str) -> Iterator[Breach]:
    match = re.match(r"cpp/cyray/(\w+)/", path)
    if match is None or match.group(1) not in BELOW:
        return
    layer = match.group(1)
    for number, line in enumerate(source.splitlines(), 1):
        included = re.match(r'#include "cyray/(\w+)/', line)
        if included and included.group(1) not in BELOW[layer]:
            yield Breach(path, number, "layer", f"{layer} may not include {included.group(1)}")
        if layer not in DAEMON_LAYERS and DAEMON_LIBRARIES.match(line):
            yield Breach(path, number, "layer", f"{layer} may not use a library of the daemons")


def cxx_opens_with_comment(path: Path, source: str) -> bool:
    if path.suffix == ".cc" and path.with_suffix(".h").exists():
        return True  # the header says it
    return source.startswith("//")


# --- Python and Cython ------------------------------------------------------------------------------


def python_functions(source: str) -> Iterator[Function]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        names = [a.arg for a in node.args.posonlyargs + node.args.args + node.args.kwonlyargs]
        if any("command" in ast.dump(decorator) for decorator in node.decorator_list):
            names = []  # a command line's options
        parameters = len([name for name in names if name not in ("self", "cls")])
        docstring = ast.get_docstring(node, clean=False)
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        lines -= docstring.count("\n") + 1 if docstring else 0
        yield Function(node.name, node.lineno, lines, parameters)


def cython_functions(source: str) -> Iterator[Function]:
    lines = source.split("\n")
    for number, line in enumerate(lines):
        match = re.match(r"(\s*)(?:async )?(?:def|cdef|cpdef)\b[^#=]*?(\w+)\s*\(", line)
        if match is None or re.match(r"\s*cdef\s+(class|extern|cppclass)\b", line):
            continue
        head = ""
        end = number
        while not head or (end < len(lines) and head.count("(") != head.count(")")):
            head += re.sub(r"#.*", "", lines[end]) + " "
            end += 1
        if not head.rstrip().endswith(":"):
            continue  # a declaration
        last = number
        for later in range(end, len(lines)):
            text = lines[later]
            if not text.strip():
                continue
            if len(text) - len(text.lstrip()) <= len(match.group(1)):
                break
            last = later
        inside = (first_parentheses(head[head.index(match.group(2) + "(") :]) or ("", ""))[1]
        names = [part.split()[-1] for part in inside.split(",") if part.strip()]
        parameters = split_parameters(inside) - len({"self", "cls"} & set(names[:1]))
        yield Function(match.group(2), number + 1, last - number + 1, parameters)


def script_opens_with_words(source: str) -> bool:
    for line in source.splitlines():
        if not line.strip() or line.startswith(("#!", "# cython:", "# distutils:")):
            continue
        return line.startswith(("#", '"""', 'r"""'))
    return True  # an empty file


# --- All ----------------------------------------------------------------------------------------------


def function_breaches(path: str, functions: Iterator[Function]) -> Iterator[Breach]:
    for f in functions:
        if f.lines > MAX_FUNCTION_LINES:
            yield Breach(
                path,
                f.line,
                f"function {f.name} lines",
                f"{f.name} has {f.lines} lines, more than {MAX_FUNCTION_LINES}",
            )
        if f.parameters > MAX_PARAMETERS:
            yield Breach(
                path,
                f.line,
                f"function {f.name} parameters",
                f"{f.name} takes {f.parameters} parameters, more than {MAX_PARAMETERS}",
            )


def breaches_of(path: str) -> Iterator[Breach]:
    file = ROOT / path
    source = file.read_text(encoding="utf-8")
    is_test = path.startswith(("tests/", "cpp_tests/"))
    limit = MAX_TEST_FILE_LINES if is_test else MAX_FILE_LINES
    count = source.count("\n")
    if count > limit:
        yield Breach(path, 1, "file lines", f"the file has {count} lines, more than {limit}")
    if file.suffix in (".h", ".cc"):
        opens = cxx_opens_with_comment(file, source)
        yield from layer_breaches(path, source)
        yield from function_breaches(path, cxx_functions(source))
    else:
        opens = script_opens_with_words(source)
        functions = python_functions if file.suffix == ".py" else cython_functions
        yield from function_breaches(path, functions(source))
    if not opens:
        yield Breach(path, 1, "file comment", "the file does not open with what it is")


def read_exceptions() -> dict[tuple[str, str], str]:
    found = {}
    for line in EXCEPTIONS.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            path, what, reason = (part.strip() for part in line.split("|", 2))
            found[path, what] = reason
    return found


def main() -> int:
    suffixes = {".h", ".cc", ".py", ".pyx", ".pxi", ".pxd"}
    named = sys.argv[1:]
    listed = named or subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\n")
    paths = [p for p in listed if Path(p).suffix in suffixes and (ROOT / p).exists()]
    exceptions = read_exceptions()
    used = set()
    failed = 0
    for path in paths:
        for breach in breaches_of(path):
            if (path, breach.what) in exceptions:
                used.add((path, breach.what))
                continue
            failed += 1
            print(f"{breach.path}:{breach.line}: {breach.text} ({breach.what})")
    if not named:
        for path, what in sorted(set(exceptions) - used):
            failed += 1
            print(f"{EXCEPTIONS.name}: {path} | {what} is no longer needed: remove it")
    print(f"{len(paths)} files, {failed} breaches, {len(used)} exceptions")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
