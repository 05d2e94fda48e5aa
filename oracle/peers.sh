#!/bin/sh
# One plane blurred by us and by others, side by side: `sh oracle/peers.sh [--side 2000] [--budget 60]`.
#
# SKYCACHE_BIN  our binary (default target/release/skycache-gpu)
#
# The programs lie in an environment of their own, target/peers-venv, with the versions pinned in
# oracle/peers-requirements.txt. `sh oracle/peers.sh --plot` draws docs/scaling.svg instead.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
venv=target/peers-venv
python=$venv/bin/python
stamp=$venv/requirements.txt

if ! cmp -s oracle/peers-requirements.txt "$stamp"; then
    rm -rf "$venv"
    mkdir -p target
    "${PYTHON:-python3}" -m venv "$venv"
    "$python" -m pip install --quiet --disable-pip-version-check -r oracle/peers-requirements.txt
    cp oracle/peers-requirements.txt "$stamp"
fi

SKYCACHE_BIN=${SKYCACHE_BIN:-target/release/skycache-gpu}
export SKYCACHE_BIN
export PYTHONDONTWRITEBYTECODE=1

if [ "${1:-}" = --plot ]; then
    shift
    exec "$python" docs/plot_scaling.py "$@"
fi
exec "$python" oracle/peers.py "$@"
