#!/bin/bash
# Formatters, linters, types and limits, all of them, before it says whether any complained.
# CHECK_ALL=1 runs clang-tidy over every file, not only those that changed since its last success.
set -uo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build/dev}
bin=$(dirname "${PY:-.venv/bin/python}")
jobs=${JOBS:-$(nproc)}
export PATH="$PWD/$bin:$PATH"  # cython-lint calls pycodestyle
failed=()
step() {
  local name=$1
  shift
  local start=$SECONDS
  if "$@"; then echo "ok    $name ($((SECONDS - start)) s)"; else
    echo "FAIL  $name"
    failed+=("$name")
  fi
}

mapfile -t cxx < <(git ls-files 'cpp/*.cc' 'cpp/*.h' 'cpp_tests/*.cc' 'cpp_tests/*.h')
mapfile -t cython < <(git ls-files '*.pyx' '*.pxi' '*.pxd')

tidy() {
  # Headers the build makes must be there; the sources need not have been compiled.
  if [[ ! -f $build/build.ninja ]]; then
    BUILD=$build PY=${PY:-.venv/bin/python} scripts/build.sh configure
  fi
  ninja -C "$build" cyray_schemas_files >/dev/null || return 1
  local stamps=$build/tidy-stamps
  mkdir -p "$stamps"
  local newest_header
  newest_header=$(git ls-files 'cpp/*.h' '*.fbs' .clang-tidy | xargs stat -c %Y | sort -n | tail -1)
  local files=() file stamp
  for file in $(git ls-files 'cpp/*.cc'); do
    stamp=$stamps/${file//\//_}
    if [[ ${CHECK_ALL:-0} == 0 && -f $stamp && $stamp -nt $file &&
      $(stat -c %Y "$stamp") -ge $newest_header ]]; then continue; fi
    files+=("$file")
  done
  ((${#files[@]} == 0)) && return 0
  printf '%s\n' "${files[@]}" | xargs -P "$jobs" -I{} bash -c '
    out=$("$1" -p "$2" --quiet --extra-arg=-Wno-unknown-warning-option "$4" 2>&1)
    if [[ $? != 0 ]] || grep -qE "(warning|error):" <<<"$out"; then
      grep -vE "^[0-9]+ warnings? (generated|treated)" <<<"$out" >&2; exit 1
    fi
    touch "$3/${4//\//_}"' _ "$bin/clang-tidy" "$build" "$stamps" {}
}

step "clang-format" "$bin/clang-format" --dry-run -Werror "${cxx[@]}"
step "ruff format" "$bin/ruff" format --check -q .
step "ruff" "$bin/ruff" check -q .
step "commits" "$bin/python" tools/check_commits.py
step "rooms of python/cyray" "$bin/python" tools/check_layers.py
step "mypy" "$bin/mypy" --no-error-summary
step "types of programs, mypy and pyright" "$bin/python" tools/check_types.py
if ((${#cython[@]})); then step "cython-lint" "$bin/cython-lint" "${cython[@]}"; fi
step "sizes, layers, file comments" "$bin/python" tools/check_sizes.py
step "clang-tidy" tidy

if ((${#failed[@]})); then
  echo "make check: ${#failed[@]} failed: ${failed[*]}" >&2
  exit 1
fi
echo "make check: all fine"
