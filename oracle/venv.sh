# shellcheck shell=sh
# Read by the scripts beside it, from the repository root.

# Makes the Python environment $1 with the packages that the file $2 pins, unless it has them
# already; sets `python` to its interpreter.
make_venv() {
    python=$1/bin/python
    cmp -s "$2" "$1/requirements.txt" && return
    rm -rf "$1"
    mkdir -p target
    "${PYTHON:-python3}" -m venv "$1"
    "$python" -m pip install --quiet --disable-pip-version-check -r "$2"
    # Last, so that an environment that was not finished is made again.
    cp "$2" "$1/requirements.txt"
}
