#!/bin/bash
# What a build needs: Debian packages and a virtual environment. `setup.sh build` or `setup.sh dev`.
# Installs apt packages when that is possible without a question (root, or sudo without a password);
# otherwise names exactly what is missing and stops.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-build}
python=${PYTHON:-python3}
venv=$(realpath -ms "${VENV:-.venv}")

# CMake reads the same list, to name what is missing where this script does not run.
mapfile -t packages < <(grep -v '^#' cmake/debian-packages.txt | cut -d' ' -f1 | sort -u)
# Tests play several hosts with network namespaces.
if [[ $mode == dev ]]; then packages+=(iproute2); fi
# Another python3 (pyenv, conda, a container's own) brings its headers and venv with it.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then packages+=(python3-venv); fi
if ! "$python" - 2>/dev/null <<'PY'
import os, sysconfig
raise SystemExit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
PY
then packages+=(python3 python3-dev); fi

if command -v dpkg-query >/dev/null; then
  missing=()
  for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  if ((${#missing[@]})); then
    if [[ $(id -u) == 0 ]]; then sudo=(); elif sudo -n true 2>/dev/null; then sudo=(sudo -n); else
      echo "Missing packages, and no root to install them. Please run:" >&2
      echo "  sudo apt-get install ${missing[*]}" >&2
      exit 1
    fi
    echo "Installing: ${missing[*]}"
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -qq --no-install-recommends "${missing[@]}"
  fi
else
  echo "Not a Debian system: make sure that the counterparts of these are installed: ${packages[*]}" >&2
fi

if [[ ! -x $venv/bin/python ]]; then
  too_old="cyray needs Python 3.10 or newer; $python is {}.{}. Name another one: make PYTHON=python3.11"
  "$python" -c "import sys; v = sys.version_info; sys.exit(0 if v >= (3, 10) else '$too_old'.format(*v))"
  "$python" -m venv "$venv"
fi

# The dependency lists live in pyproject.toml alone. (Python 3.10 has no tomllib; pip has tomli inside.)
requirements() {
  "$venv/bin/python" - "$@" <<'PY'
import sys
try:
    import tomllib
except ModuleNotFoundError:
    from pip._vendor import tomli as tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
wanted = list(project["dependencies"])
for group in sys.argv[1:]:
    wanted += project["optional-dependencies"][group]
print("\n".join(wanted))
PY
}
case $mode in
  build) groups=(build) ;;
  dev) groups=(build test lint) ;;
  *) echo "usage: setup.sh build|dev" >&2; exit 2 ;;
esac
"$venv/bin/python" -m pip install -q --disable-pip-version-check -r <(requirements "${groups[@]}")

# The tree itself is what `import cyray` finds, and `cyray` runs its command line.
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "$PWD/python" > "$site/cyray-tree.pth"
cat > "$venv/bin/cyray" <<SCRIPT
#!$venv/bin/python
from cyray.cli import main

main()
SCRIPT
chmod +x "$venv/bin/cyray"
