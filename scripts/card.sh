#!/bin/sh
# The figures of a graphics card, in two steps, as the machine with the card may have no network and no compiler:
#
#   sh scripts/card.sh pack [FOLDER]        here: builds, and packs all that the other step needs into FOLDER.tar.gz
#   sh FOLDER/card.sh run [PART] [OUT]      there: tests, benches, peers where they are installed; one table
#
# PART is `tests`, `bench` or `peers`, for machines that bound the time of a command; else all three are done.
# SKYCACHE_BENCH_ADAPTER names the adapter by number or by a part of its name (default: the best card), SKYCACHE_BENCH_SIDE
# the side of the planes (default: 6240 px, 512 on a software adapter). The full output of all, the peers' times and the
# table are left in OUT (card-results), and packed into OUT.tar.gz.
set -eu

LARGEST_MIB=48
TESTS="gpu twins twins_stats twins_bands stream"
# Where the loader looks for drivers, and, last, where it does not.
MANIFESTS="/etc/vulkan/icd.d /usr/share/vulkan/icd.d /usr/local/nvidia/share/vulkan/icd.d"
# Beside those that the system's list names.
LIBRARIES="/usr/lib/x86_64-linux-gnu /usr/lib/aarch64-linux-gnu /usr/lib64 /usr/local/nvidia/lib64 /usr/local/nvidia/lib"

die() {
    echo "$*" >&2
    exit 1
}

# Runs a command, its output in a file and then here; its status is kept, as a pipe would not.
shown() {
    log=$1
    shift
    status=0
    "$@" > "$log" 2>&1 || status=$?
    cat "$log"
    return "$status"
}

# The path of the executable of a target in the output of cargo.
executable() {
    path=$(sed -n "s|.*Executable $1 (\(.*\))\$|\1|p" "$2" | tail -n 1)
    [ -n "$path" ] || die "cargo names no executable of $1"
    echo "$path"
}

pack() {
    folder=${1:-target/card}
    cargo=${CARGO:-cargo}
    rm -rf "$folder"
    mkdir -p "$folder/bin" "$folder/lib" "$folder/deb"
    "$cargo" build --release --locked
    cp target/release/skycache-gpu "$folder/bin/"
    made=$(mktemp)
    shown "$made" "$cargo" bench --no-run --locked --bench gpu
    path=$(executable benches/gpu.rs "$made")
    cp "$path" "$folder/bin/bench"
    # shellcheck disable=SC2046 # one option a test
    shown "$made" "$cargo" test --release --no-run --locked $(for test in $TESTS; do echo "--test $test"; done)
    for test in $TESTS; do
        path=$(executable "tests/$test.rs" "$made")
        cp "$path" "$folder/bin/test_$test"
    done
    strip "$folder"/bin/*
    # What the programs need but the C library, which belongs to the machine they run on.
    ldd "$folder"/bin/* > "$made"
    # shellcheck disable=SC2013 # a path a line, without spaces
    for library in $(sed -n 's|.*=> \(/[^ ]*\) .*|\1|p' "$made" | sort -u); do
        case ${library##*/} in
            libc.so* | libm.so* | libpthread.so* | libdl.so* | librt.so* | libresolv.so*) ;;
            *) cp -L "$library" "$folder/lib/" ;;
        esac
    done
    rm -f "$made"
    # The loader that finds the driver; the driver comes with the card's machine.
    (cd "$folder/deb" && apt-get download libvulkan1) || echo "note: no loader was packed; the other machine needs libvulkan1" >&2
    cp scripts/card.sh scripts/card_peers.py "$folder/"
    mkdir -p "$folder/fixtures"
    cp -r fixtures/real "$folder/fixtures/"
    git rev-parse HEAD > "$folder/commit" 2>/dev/null || true
    tar -czf "$folder.tar.gz" -C "$(dirname "$folder")" "$(basename "$folder")"
    mib=$(($(stat -c %s "$folder.tar.gz") / 1048576 + 1))
    [ "$mib" -le "$LARGEST_MIB" ] || die "$folder.tar.gz has $mib MiB, more than $LARGEST_MIB"
    echo "$folder.tar.gz ($mib MiB): unpack it on the machine with the card, and run: sh $(basename "$folder")/card.sh run"
}

# One of the programs, with the libraries that came with it; Python keeps its own.
own() {
    program=$1
    shift
    LD_LIBRARY_PATH=$own_path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} "$here/bin/$program" "$@"
}

# The paths of a library, by the system's list and in the usual folders.
paths_of() {
    PATH=$PATH:/usr/sbin:/sbin ldconfig -p 2>/dev/null | sed -n "s|.*$1.* => ||p"
    for folder in $LIBRARIES; do
        if [ -e "$folder/$1" ]; then echo "$folder/$1"; fi
    done
}

# The number of the best adapter in the list that `devices` gave; nothing if there are only software adapters.
best_card() {
    for kind in discrete integrated virtual; do
        number=$(sed -n "s/^\([0-9]*\): .* ($kind), .*/\1/p" "$OUT/devices" | head -n 1)
        if [ -n "$number" ]; then
            echo "$number"
            return
        fi
    done
}

list_devices() {
    own skycache-gpu devices > "$OUT/devices" 2> "$OUT/devices.log" || { cat "$OUT/devices.log" >&2; die "the programs do not run here"; }
}

# Containers are often given an NVIDIA driver's libraries without the file that names them, or that file where the loader does
# not look.
find_driver() {
    if [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ]; then return; fi
    found=""
    for folder in $MANIFESTS; do
        for manifest in "$folder"/*nvidia*.json; do
            if [ -e "$manifest" ] && [ -z "$found" ]; then found=$manifest; fi
        done
    done
    case $found in
        "") ;;
        /usr/local/*) export VK_DRIVER_FILES="$found" VK_ICD_FILENAMES="$found"; return ;;
        *) return ;;
    esac
    list_devices
    if [ -n "$(best_card)" ]; then return; fi
    for library in libGLX_nvidia.so.0 libEGL_nvidia.so.0; do
        for path in $(paths_of "$library"); do
            printf '{"file_format_version":"1.0.0","ICD":{"library_path":"%s","api_version":"1.3.0"}}\n' "$path" > "$OUT/nvidia.json"
            export VK_DRIVER_FILES="$OUT/nvidia.json" VK_ICD_FILENAMES="$OUT/nvidia.json"
            list_devices
            if [ -n "$(best_card)" ]; then return; fi
        done
    done
    rm -f "$OUT/nvidia.json"
    unset VK_DRIVER_FILES VK_ICD_FILENAMES
}

# Lets the programs find the loader, and the loader a driver; chooses the adapter.
prepare() {
    here=$(cd "$(dirname "$0")" && pwd)
    own_path=$here/lib
    mkdir -p "$OUT"
    OUT=$(cd "$OUT" && pwd)
    if ! PATH=$PATH:/usr/sbin:/sbin ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so\.1'; then
        for deb in "$here"/deb/*.deb; do
            if [ -e "$deb" ]; then dpkg -x "$deb" "$OUT/loader"; fi
        done
        loader=$(find "$OUT/loader" -name 'libvulkan.so.1' 2>/dev/null | head -n 1)
        if [ -n "$loader" ]; then own_path=$own_path:$(dirname "$loader"); fi
    fi
    # Nothing that an earlier run has kept, and nothing into the user's cache.
    rm -rf "$OUT/cache"
    export SKYCACHE_CACHE_DIR="$OUT/cache" XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$OUT}"
    find_driver
    list_devices
    cat "$OUT/devices"
    adapter=${SKYCACHE_BENCH_ADAPTER:-$(best_card)}
    [ -n "$adapter" ] || die "no graphics card is listed, and software adapters prove nothing; install the card's Vulkan driver, or name an adapter in SKYCACHE_BENCH_ADAPTER"
    export SKYCACHE_BENCH_ADAPTER="$adapter" SKYCACHE_TEST_ADAPTER="$adapter" SKYCACHE_REQUIRE_GPU=1
    export SKYCACHE_SHARED_DATA="$here/fixtures/real" CRITERION_HOME="$OUT/criterion"
}

run_tests() {
    for test in $TESTS; do
        echo "test $test"
        own "test_$test" --test-threads 4 > "$OUT/test_$test.log" 2>&1 || failed="$failed $test"
        tail -n 3 "$OUT/test_$test.log"
    done
    echo "demo on the card and on the processor"
    demo > "$OUT/demo.log" 2>&1 || failed="$failed demo"
    tail -n 1 "$OUT/demo.log"
    rm -rf "$OUT/demo"
}

# The made-up survey through `ps1` on both: the same cells, and the same pixels within 1e-6 of the peak.
demo() {
    rm -rf "$OUT/demo"
    mkdir -p "$OUT/demo"
    own skycache-gpu demo --no-run --data-root "$OUT/demo/data" || return 1
    for backend in gpu cpu; do
        own skycache-gpu ps1 --no-cache --data-root "$OUT/demo/data" --output "$OUT/demo/$backend" \
            --backend "$backend" --adapter "$adapter" || { echo "ps1 on $backend: exit code $?"; return 1; }
        mkdir "$OUT/demo/$backend.fits"
        for cell in "$OUT/demo/$backend"/convolved_images.zarr/*_data; do
            # Into a format that needs no library to read; a PSF this narrow changes no pixel.
            own skycache-gpu convolve "$cell" --output "$OUT/demo/$backend.fits/${cell##*/}.fits" --psf-sigma 0.1 \
                --psf-radius 1 --backend cpu > /dev/null || return 1
        done
    done
    if command -v python3 > /dev/null; then
        python3 "$here/card_peers.py" compare "$OUT/demo/gpu.fits" "$OUT/demo/cpu.fits"
    else
        echo "both ran; without Python their pixels are not compared"
    fi
}

run_bench() {
    rm -rf "$OUT/criterion"
    # An adapter that cannot be opened is no failure to the bench.
    if ! shown "$OUT/bench.log" own bench --bench || grep -q '^skipped:' "$OUT/bench.log"; then failed="$failed bench"; fi
}

# The side of the planes that the bench took.
side() {
    taken=""
    if [ -e "$OUT/bench.log" ]; then
        taken=$(sed -n 's/.*, \([0-9]*\) x [0-9]* px$/\1/p' "$OUT/bench.log" | head -n 1)
    fi
    echo "${taken:-${SKYCACHE_BENCH_SIDE:-6240}}"
}

run_peers() {
    if command -v python3 > /dev/null; then
        python3 "$here/card_peers.py" measure "$OUT/peers.json" "$(side)" > "$OUT/peers.log" 2>&1 || {
            cat "$OUT/peers.log" >&2
            echo "note: the peers failed" >&2
        }
    fi
}

table() {
    if command -v python3 > /dev/null; then
        shown "$OUT/table.txt" python3 "$here/card_peers.py" table "$OUT" "$(side)" || failed="$failed table"
    else
        echo "note: no Python: no peers and no table; the times are in $OUT/bench.log" >&2
    fi
}

# All that is worth keeping in one file; of criterion only the estimates.
pack_results() {
    if [ -e "$here/commit" ]; then cp "$here/commit" "$OUT/"; fi
    (
        cd "$OUT"
        rm -f results.list
        for file in commit devices nvidia.json peers.json table.txt *.log; do
            if [ -e "$file" ]; then echo "$file"; fi
        done > results.list
        if [ -d criterion ]; then find criterion -path '*/new/estimates.json' >> results.list; fi
        tar -czf "$OUT.tar.gz" -T results.list
    )
    echo "results: $OUT.tar.gz"
}

run() {
    case "${1:-}" in
        tests | bench | peers) parts=$1; shift ;;
        *) parts="tests bench peers" ;;
    esac
    OUT=${1:-card-results}
    prepare
    failed=""
    for part in $parts; do "run_$part"; done
    table
    pack_results
    [ -z "$failed" ] || die "failed:$failed; see $OUT"
}

case "${1:-}" in
    pack) shift; pack "$@" ;;
    run) shift; run "$@" ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
