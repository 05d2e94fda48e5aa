#!/bin/sh
# Runs the oracle suite: `sh oracle/run.sh [pytest arguments]`.
#
# SKYCACHE_BIN      the binary to judge (default target/release/skycache-gpu)
# SKYCACHE_BACKEND  its back end (default cpu); run again with gpu where there is one
#
# `sh oracle/run.sh oracle/test_reference.py` needs no binary.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
venv=target/oracle-venv
python=$venv/bin/python
stamp=$venv/requirements.txt

if ! cmp -s oracle/requirements.txt "$stamp"; then
    rm -rf "$venv"
    mkdir -p target
    "${PYTHON:-python3}" -m venv "$venv"
    "$python" -m pip install --quiet --disable-pip-version-check -r oracle/requirements.txt
    cp oracle/requirements.txt "$stamp"
fi

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
