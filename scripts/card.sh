#!/bin/sh
# The figures of a graphics card, in two steps, as the machine with the card may have no network and no compiler:
#
#   sh scripts/card.sh pack [FOLDER]   here: builds, and packs all that the other step needs into FOLDER.tar.gz
#   sh FOLDER/card.sh run [OUT]        there: tests on the card, benches, peers where they are installed, one table
#
# SKYCACHE_BENCH_ADAPTER names the adapter by number or by a part of its name (default: the best card), SKYCACHE_BENCH_SIDE
# the side of the planes (default: 6240 px, 512 on a software adapter). The tests' and the benches' full output, the peers'
# times and the table are left in OUT.
set -eu

LARGEST_MIB=64
TESTS="gpu twins twins_stats twins_bands"

# The path of the executable of a target in the output of cargo.
executable() {
    sed -n "s|.*Executable $1 (\(.*\))\$|\1|p" "$2" | tail -n 1
}

# What a program needs but the C library, which belongs to the machine it runs on.
libraries() {
    ldd "$@" | sed -n 's|.*=> \(/[^ ]*\) .*|\1|p' | sort -u | grep -Ev '/(libc|libm|libpthread|libdl|librt|libresolv)\.so' || true
}

pack() {
    folder=${1:-target/card}
    cargo=${CARGO:-cargo}
    rm -rf "$folder"
    mkdir -p "$folder/bin" "$folder/lib" "$folder/deb"
    "$cargo" build --release --locked
    cp target/release/skycache-gpu "$folder/bin/"
    log=$(mktemp)
    "$cargo" bench --no-run --locked --bench gpu 2>&1 | tee "$log"
    cp "$(executable benches/gpu.rs "$log")" "$folder/bin/bench"
    # shellcheck disable=SC2046 # one option a test
    "$cargo" test --release --no-run --locked $(for test in $TESTS; do echo "--test $test"; done) 2>&1 | tee "$log"
    for test in $TESTS; do
        cp "$(executable "tests/$test.rs" "$log")" "$folder/bin/test_$test"
    done
    rm -f "$log"
    strip "$folder"/bin/*
    for library in $(libraries "$folder"/bin/*); do cp -L "$library" "$folder/lib/"; done
    # The loader that finds the driver; the driver comes with the card's machine.
    (cd "$folder/deb" && apt-get download libvulkan1) || echo "note: no loader was packed; the other machine needs libvulkan1" >&2
    cp scripts/card.sh scripts/card_peers.py "$folder/"
    mkdir -p "$folder/fixtures"
    cp -r fixtures/real "$folder/fixtures/"
    git rev-parse HEAD > "$folder/commit" 2>/dev/null || true
    tar -czf "$folder.tar.gz" -C "$(dirname "$folder")" "$(basename "$folder")"
    mib=$(($(stat -c %s "$folder.tar.gz") / 1048576 + 1))
    [ "$mib" -le "$LARGEST_MIB" ] || { echo "$folder.tar.gz has $mib MiB, more than $LARGEST_MIB" >&2; exit 1; }
    echo "$folder.tar.gz ($mib MiB): unpack it on the machine with the card, and run: sh $(basename "$folder")/card.sh run"
}

# Lets programs of this folder find the loader, and the loader the driver of an NVIDIA card.
prepare() {
    own_path=$here/lib
    if ! ldconfig -p 2>/dev/null | grep -q libvulkan.so.1; then
        for deb in "$here"/deb/*.deb; do
            if [ -e "$deb" ]; then dpkg -x "$deb" "$OUT/loader"; fi
        done
        loader=$(find "$OUT/loader" -name 'libvulkan.so.1' 2>/dev/null | head -n 1)
        if [ -n "$loader" ]; then own_path=$own_path:$(dirname "$loader"); fi
    fi
    # Containers are often given the driver's libraries without the file that names them.
    if [ -z "${VK_DRIVER_FILES:-}" ] && ! ls /usr/share/vulkan/icd.d/*nvidia* /etc/vulkan/icd.d/*nvidia* >/dev/null 2>&1; then
        driver=$(ldconfig -p 2>/dev/null | sed -n 's|.*libGLX_nvidia.so.0.*=> ||p' | head -n 1)
        if [ -n "$driver" ]; then
            printf '{"file_format_version":"1.0.0","ICD":{"library_path":"%s","api_version":"1.3.0"}}\n' "$driver" > "$OUT/nvidia.json"
            export VK_DRIVER_FILES="$OUT/nvidia.json" VK_ICD_FILENAMES="$OUT/nvidia.json"
        fi
    fi
    export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$OUT}"
}

# One of the programs, with the libraries that came with it; Python keeps its own.
own() {
    program=$1
    shift
    LD_LIBRARY_PATH=$own_path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} "$here/bin/$program" "$@"
}

run() {
    OUT=${1:-card-results}
    mkdir -p "$OUT"
    OUT=$(cd "$OUT" && pwd)
    here=$(cd "$(dirname "$0")" && pwd)
    prepare
    own skycache-gpu devices | tee "$OUT/devices"
    if [ -n "${SKYCACHE_BENCH_ADAPTER:-}" ]; then
        adapter=$SKYCACHE_BENCH_ADAPTER
    else
        # The first that is a card, else the first of all.
        adapter=$(sed -n 's/^\([0-9]*\): .*(\(discrete\|integrated\|virtual\)).*/\1/p' "$OUT/devices" | head -n 1)
        adapter=${adapter:-0}
    fi
    export SKYCACHE_BENCH_ADAPTER="$adapter" SKYCACHE_TEST_ADAPTER="$adapter" SKYCACHE_REQUIRE_GPU=1
    export SKYCACHE_SHARED_DATA="$here/fixtures/real" CRITERION_HOME="$OUT/criterion"
    failed=""
    for test in $TESTS; do
        echo "test $test"
        own "test_$test" --test-threads 4 > "$OUT/test_$test.log" 2>&1 || failed="$failed $test"
        tail -n 3 "$OUT/test_$test.log"
    done
    own bench --bench 2>&1 | tee "$OUT/bench.log"
    side=$(sed -n 's/.*, \([0-9]*\) x [0-9]* px$/\1/p' "$OUT/bench.log" | head -n 1)
    if command -v python3 >/dev/null; then
        python3 "$here/card_peers.py" measure "$OUT/peers.json" "${side:-6240}" || echo "note: the peers failed" >&2
        python3 "$here/card_peers.py" table "$OUT" "${side:-6240}" | tee "$OUT/table.txt"
    else
        echo "note: no Python: no peers and no table; the times are in $OUT/bench.log" >&2
    fi
    [ -z "$failed" ] || { echo "failed tests:$failed; see $OUT" >&2; exit 1; }
}

case "${1:-}" in
    pack) shift; pack "$@" ;;
    run) shift; run "$@" ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
