#!/bin/bash
# Builds in the tree: `build.sh package` the extension and the daemons, `build.sh all` the C++ tests too
# (`build.sh configure` nothing yet), and puts extension and daemons into python/cyray. Ninja decides what is out of date.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build/dev}
python=$(realpath -ms "${PY:-.venv/bin/python}")
jobs=${JOBS:-$(nproc)}

# CMake keeps what it found out about a Python for ever; for another one it has to look afresh.
python_now=$("$python" -c 'import sys; print(sys.executable, sys.version)')
if [[ -f $build/python.txt && $python_now != "$(<"$build/python.txt")" ]]; then
  rm -f "$build/CMakeCache.txt" "$build/build.ninja"
fi
if [[ ! -f $build/build.ninja ]]; then
  options=(-DCYRAY_BUILD_TESTS=ON -DCYRAY_BUILD_BENCHMARKS=ON "-DPython_EXECUTABLE=$python")
  if command -v ccache >/dev/null; then options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
  cmake -S . -B "$build" -G Ninja "${options[@]}"
fi
if [[ ! -f $build/python.txt || $python_now != "$(<"$build/python.txt")" ]]; then
  echo "$python_now" >"$build/python.txt"
fi
# The compile commands of the last build, for editors and clang-tidy.
ln -sfn "$build/compile_commands.json" compile_commands.json

if [[ ${1:-all} == configure ]]; then exit 0; fi
targets=(all)
if [[ ${1:-all} == package ]]; then targets=(cyray_package); fi
ninja -C "$build" -j "$jobs" "${targets[@]}"
# What changed is put in place by a rename, so that a running process keeps the file that it has mapped.
stage=$build/stage
cmake --install "$build" --prefix "$stage" >/dev/null
(cd "$stage" && find cyray -type f) | while read -r file; do
  if cmp -s "$stage/$file" "python/$file"; then continue; fi
  mkdir -p "python/$(dirname "$file")"
  cp "$stage/$file" "python/$file.new"
  mv "python/$file.new" "python/$file"
  echo "placed python/$file"
done
