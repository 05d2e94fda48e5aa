#!/bin/sh
# Runs the oracle suite: `sh oracle/run.sh [pytest arguments]`.
#
# SKYCACHE_BIN      the binary to judge (default target/release/skycache-gpu)
# SKYCACHE_BACKEND  its back end (default cpu); run again with gpu where there is one
# SKYCACHE_ADAPTER  the adapter of gpu, by number or a part of its name
#
# `sh oracle/run.sh oracle/test_reference.py` needs no binary.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
# shellcheck source=oracle/venv.sh
. oracle/venv.sh
make_venv target/oracle-venv oracle/requirements.txt

# A path relative to the caller means relative to the repository root here.
SKYCACHE_BIN=${SKYCACHE_BIN:-target/release/skycache-gpu}
case $SKYCACHE_BIN in
    /*) ;;
    *) SKYCACHE_BIN=$root/$SKYCACHE_BIN ;;
esac
export SKYCACHE_BIN
export PYTHONDONTWRITEBYTECODE=1

if [ $# -eq 0 ]; then
    set -- oracle/
fi
# A folder of its own: pytest's shared one is cleaned by whichever run ends first.
scratch=$(mktemp -d "${TMPDIR:-/tmp}/skycache-oracle.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
"$python" -m pytest -c oracle/pytest.ini --rootdir=oracle -p no:cacheprovider --basetemp="$scratch/run" -q "$@"
