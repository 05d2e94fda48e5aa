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
# shellcheck source=oracle/venv.sh
. oracle/venv.sh
make_venv target/peers-venv oracle/peers-requirements.txt

SKYCACHE_BIN=${SKYCACHE_BIN:-target/release/skycache-gpu}
export SKYCACHE_BIN
export PYTHONDONTWRITEBYTECODE=1

if [ "${1:-}" = --plot ]; then
    shift
    exec "$python" docs/plot_scaling.py "$@"
fi
exec "$python" oracle/peers.py "$@"
