#!/bin/bash
# Installs the example packages into the given Python's environment, when their sources changed
# or the environment is another one than the last time.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath -ms "${1:-.venv/bin/python}")
environment=$(dirname "$(dirname "$python")")
for example in examples/cython examples/pybind11; do
  stamp=build/stamp-$(basename "$example")
  if [[ -f $stamp && $(<"$stamp") == "$environment" && $stamp -nt $environment/pyvenv.cfg &&
    -z $(find "$example" -newer "$stamp" \( -name '*.py*' -o -name '*.cc' \) \
    -not -name '*.pyc' -print -quit) ]]; then continue; fi
  echo "Building $example"
  "$python" -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps -e "$example" 2> >(grep -v 'WARNING: Location' >&2)
  mkdir -p build
  echo "$environment" >"$stamp"
done
