#!/bin/bash
# Installs the peers into .venv-bench, once, and runs the benchmarks; arguments go to `python -m benchmarks`.
# A run of every case on every engine writes benchmarks/RESULTS.md and the README's table.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PY:-.venv/bin/python}
peers=.venv-bench
if [[ ! -f $peers/.stamp || scripts/bench.sh -nt $peers/.stamp ]]; then
  [[ -x $peers/bin/python ]] || "${PYTHON:-python3}" -m venv "$peers"
  "$peers/bin/python" -m pip install -q --disable-pip-version-check \
    "ray" "dask" "distributed" "joblib" "loky" "numpy" 2> >(grep -v 'WARNING: Location' >&2)
  touch "$peers/.stamp"
fi
exec "$python" -m benchmarks --peers-python "$peers/bin/python" --publish "$@"
