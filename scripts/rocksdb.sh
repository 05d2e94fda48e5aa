#!/bin/sh
# Builds the C++ of RocksDB once, and tells cargo where it is.
#
# The crate `rocksdb` brings RocksDB's sources and would compile them in each profile, ten minutes each on two cores.
# This compiles them once, for the version in Cargo.lock, into target/rocksdb/, and writes .cargo/config.toml, which
# makes every later build in this folder link that archive. Without this script cargo compiles them itself.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:${HOME:-/root}/.cargo/bin

target=${CARGO_TARGET_DIR:-target}
config=.cargo/config.toml
version=$(sed -n '/^name = "librocksdb-sys"$/{n;s/^version = "\(.*\)"$/\1/p;}' Cargo.lock)
archives=$target/rocksdb/$version
mark='# Written by scripts/rocksdb.sh'

say() {
    printf 'rocksdb: %s\n' "$*" >&2
}

# A configuration that somebody wrote is theirs.
if [ -e "$config" ] && ! grep -q "^$mark" "$config"; then
    exit 0
fi
if [ ! -e "$archives/librocksdb.a" ]; then
    # A folder that is gone must not be looked for while its successor is built.
    rm -f "$config"
    say "compiling RocksDB $version, once; about ten minutes on two cores"
    ${CARGO:-cargo} build --release --locked -p librocksdb-sys --target-dir "$target/rocksdb/build"
    mkdir -p "$archives"
    found=$(find "$target/rocksdb/build/release/build" -path '*librocksdb-sys-*/out/librocksdb.a' | head -n 1)
    cp "$found" "$archives/librocksdb.a.new"
    mv "$archives/librocksdb.a.new" "$archives/librocksdb.a"
    # Two gigabytes of objects that are in the archive now.
    rm -rf "$target/rocksdb/build"
fi
mkdir -p .cargo
wanted=$(printf '%s; remove it and cargo compiles RocksDB itself.\n[env]\nROCKSDB_LIB_DIR = "%s"\nROCKSDB_STATIC = "1"\n' \
    "$mark" "$(cd "$archives" && pwd)")
# An unchanged file keeps its time, and cargo has nothing to do again.
[ -e "$config" ] && [ "$(cat "$config")" = "$wanted" ] || printf '%s\n' "$wanted" >"$config"
