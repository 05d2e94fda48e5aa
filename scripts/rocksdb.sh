#!/bin/sh
# Builds the C++ of RocksDB once, and tells cargo where it is.
#
# The crate `librocksdb-sys` brings RocksDB's sources and would compile its 343 files one by one in each profile: 43
# minutes of one core, most of it the same headers again. This compiles them a dozen or so times thirty together, as
# RocksDB's own `make unity` does, in 10 minutes of one core, once, for the version in Cargo.lock. The archive goes
# into .cargo/rocksdb/, and .cargo/config.toml makes every later build in this folder link it. Without this script, and
# on other systems than Linux, cargo compiles RocksDB itself.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:${HOME:-/root}/.cargo/bin

config=.cargo/config.toml
version=$(sed -n '/^name = "librocksdb-sys"$/{n;s/^version = "\(.*\)"$/\1/p;}' Cargo.lock)
# Beside the configuration that names it, where `cargo clean` removes neither.
archives=.cargo/rocksdb/$version
mark='# Written by scripts/rocksdb.sh'
files_together=29

say() {
    printf 'rocksdb: %s\n' "$*" >&2
}

# The folder of a crate's sources.
sources_of() {
    ${CARGO:-cargo} metadata --locked --format-version 1 |
        tr '{},' '\n\n\n' | sed -n "s|^\"manifest_path\":\"\(.*/$1-[0-9][^/]*\)/Cargo.toml\"\$|\1|p" | head -n 1
}

# The definitions are those of the crate's build script for Linux.
compile() {
    ${CXX:-c++} -std=c++20 -O2 -fPIC -w -include cstdint -DNDEBUG=1 -DHAVE_ALIGNED_NEW -DHAVE_UINT128_EXTENSION -DZSTD=1 \
        -DOS_LINUX -DROCKSDB_PLATFORM_POSIX -DROCKSDB_LIB_IO_POSIX -DROCKSDB_SCHED_GETCPU_PRESENT \
        -DROCKSDB_AUXV_GETAUXVAL_PRESENT -DROCKSDB_FALLOCATE_PRESENT -DROCKSDB_RANGESYNC_PRESENT \
        -I"$crate" -I"$crate/rocksdb/include" -I"$crate/rocksdb" -I"$crate/rocksdb/third-party/gtest-1.8.1/fused-src" \
        -I"$zstd/zstd/lib" -c "$1" -o "${1%.cc}.o"
}

# One piece, for the xargs below.
if [ "${1:-}" = --compile ]; then
    crate=$2 zstd=$3
    compile "$4"
    exit
fi

# A configuration that somebody wrote is theirs.
if [ -e "$config" ] && ! grep -q "^$mark" "$config"; then
    exit 0
fi
if [ "$(uname -s)" != Linux ]; then
    exit 0
fi
if [ ! -e "$archives/librocksdb.a" ]; then
    # An archive that is gone must not be looked for.
    rm -f "$config"
    say "compiling RocksDB $version, once; about five minutes on two cores"
    crate=$(sources_of librocksdb-sys)
    zstd=$(sources_of zstd-sys)
    build=$archives/build
    rm -rf .cargo/rocksdb
    mkdir -p "$build"
    grep '\.cc$' "$crate/rocksdb_lib_sources.txt" | grep -v build_version.cc |
        sed 's|.*|#include "rocksdb/&"|' | split -l $files_together -d - "$build/piece"
    for piece in "$build"/piece*; do
        mv "$piece" "$piece.cc"
    done
    cp "$crate/build_version.cc" "$build/"
    find "$build" -name '*.cc' | sort |
        xargs -P "$(getconf _NPROCESSORS_ONLN)" -n 1 sh scripts/rocksdb.sh --compile "$crate" "$zstd"
    ar rcs "$build/librocksdb.a" "$build"/*.o
    mv "$build/librocksdb.a" "$archives/"
    rm -rf "$build"
fi
wanted=$(printf '%s; remove it and cargo compiles RocksDB itself.\n[env]\nROCKSDB_LIB_DIR = "%s"\nROCKSDB_STATIC = "1"\n' \
    "$mark" "$(cd "$archives" && pwd)")
# An unchanged file keeps its time, and cargo has nothing to do again.
[ -e "$config" ] && [ "$(cat "$config")" = "$wanted" ] || printf '%s\n' "$wanted" >"$config"
