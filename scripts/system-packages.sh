#!/bin/sh
# Installs the system packages that building and testing skycache-gpu needs, where they are absent.
#
#   sh scripts/system-packages.sh           what `make build`, `make test` and `make demo` need
#   sh scripts/system-packages.sh --oracle  that, and what `make oracle` needs
#
# On Debian and Ubuntu it installs them, as root or through sudo, and prints nothing when all are there.
# Elsewhere it installs nothing: it says what to install unless CFITSIO is found already.
set -eu

# rustup puts cargo here; a shell that was open before does not have it on its PATH yet.
PATH=$PATH:${HOME:-/root}/.cargo/bin

say() {
    printf 'system-packages: %s\n' "$*" >&2
}

has_command() {
    command -v "$1" >/dev/null 2>&1
}

finds_cfitsio() {
    has_command pkg-config && pkg-config --exists cfitsio
}

# bindgen looks in more places than these; a libclang that LIBCLANG_PATH names is as good.
finds_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return
    ls /usr/lib/llvm-*/lib/libclang*.so* 2>/dev/null | grep -qv -e libclang-cpp -e libclangd || return 1
    ls -d /usr/lib/llvm-*/lib/clang/*/include/stddef.h >/dev/null 2>&1
}

# The library and its headers of the newest LLVM that is packaged; 7 MB beside LLVM's own library.
libclang_packages() {
    version=$(apt-cache search --names-only '^libclang1-[0-9]+$' 2>/dev/null | sed 's/^libclang1-\([0-9]*\) .*/\1/' | sort -n | tail -n 1)
    if is_installed libllvm14; then
        version=14
    fi
    [ -n "$version" ] && echo "libclang1-$version libclang-common-$version-dev" || echo libclang-dev
}

is_installed() {
    status=$(dpkg-query -W -f '${Status}' "$1" 2>/dev/null) && [ "$status" = "install ok installed" ]
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    else
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    fi
}

# Asks for the password once, before its answer would go unseen into the log.
may_install() {
    [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null || sudo -v
}

# The Debian packages that are absent, on one line. A tool that some other package brought counts as there.
absent_packages() {
    absent=
    has_command cc || absent="$absent gcc libc6-dev"
    # The Zarr codec Blosc brings snappy, which is C++.
    has_command c++ || absent="$absent g++"
    has_command make || absent="$absent make"
    has_command pkg-config || absent="$absent pkg-config"
    # Headers to build against; a CFITSIO built by hand is as good if pkg-config finds it.
    is_installed libcfitsio-dev || finds_cfitsio || absent="$absent libcfitsio-dev"
    # RocksDB's bindings are made when it is built; the headers are clang's own.
    finds_libclang || absent="$absent $(libclang_packages)"
    # The tests judge written FITS files with it.
    has_command fitsverify || absent="$absent fitsverify"
    # A Vulkan driver in software, for tests on machines without a graphics card.
    for package in libvulkan1 mesa-vulkan-drivers; do
        is_installed "$package" || absent="$absent $package"
    done
    if [ "$for_oracle" = yes ]; then
        is_installed python3-venv || absent="$absent python3-venv"
    fi
    printf '%s' "${absent# }"
}

# Lists are fetched only if the first try fails: there are none in a fresh container, or they are outdated.
# shellcheck disable=SC2086 # the list is split into words on purpose
install_debian() {
    apt_install="apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends $1"
    as_root $apt_install >"$log" 2>&1 && return
    as_root apt-get update -q >"$log" 2>&1 || true
    as_root $apt_install >>"$log" 2>&1
}

on_debian() {
    packages=$(absent_packages)
    [ -n "$packages" ] || return 0
    if [ "$(id -u)" -ne 0 ] && ! has_command sudo; then
        say "needs root, and there is no sudo; run as root: apt-get install $packages"
    else
        say "installing $packages"
        log=$(mktemp)
        trap 'rm -f "$log"' EXIT
        may_install && install_debian "$packages" && return 0
        cat "$log" >&2
        say "could not install them (see above); by hand: apt-get install $packages"
    fi
    # What only the tests need must not keep anybody from building.
    if finds_cfitsio && finds_libclang && has_command cc && has_command c++; then
        say "CFITSIO, libclang and the compilers are there, so it goes on without the rest"
        return 0
    fi
    return 1
}

on_other_system() {
    if finds_cfitsio; then
        return 0
    fi
    cat >&2 <<'HELP'
system-packages: CFITSIO was not found by pkg-config; install it, pkg-config, libclang, and a C and C++ compiler:
  Fedora, RHEL:  sudo dnf install cfitsio-devel pkgconf-pkg-config clang-devel gcc-c++ make
  Arch:          sudo pacman -S cfitsio pkgconf clang gcc make
  macOS:         brew install cfitsio pkgconf llvm
  conda:         conda install -c conda-forge cfitsio pkg-config libclang cxx-compiler
If it is installed in an unusual place, put the folder of cfitsio.pc into PKG_CONFIG_PATH.
HELP
    return 1
}

# Only a hint: whoever runs this with sudo may have Rust as a normal user.
check_rust() {
    if ! has_command cargo; then
        say "there is no cargo; get Rust from https://rustup.rs, then open a new shell"
        return
    fi
    needed=$(sed -n 's/^rust-version = "1\.\([0-9]*\).*/\1/p' "$(dirname "$0")/../Cargo.toml")
    [ -n "$needed" ] || return 0
    found=$(cargo --version 2>/dev/null | sed -n 's/^cargo 1\.\([0-9]*\).*/\1/p')
    if [ "${found:-$needed}" -lt "$needed" ]; then
        say "cargo is 1.$found, 1.$needed is needed; run: rustup update stable"
    fi
}

for_oracle=no
case ${1:-} in
    '') ;;
    --oracle) for_oracle=yes ;;
    *)
        say "unknown option $1; the only one is --oracle"
        exit 2
        ;;
esac

if has_command dpkg-query && has_command apt-get; then
    on_debian
else
    on_other_system
fi
check_rust
