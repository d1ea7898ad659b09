#!/bin/sh
# Sees to it that what `build` or `test` needs is there: Rust, and Debian packages, which root installs at once.
set -eu
RUST_MIN=1.95

# Rust comes from rustup, not from Debian, whose version is too old.
version=$(rustc --version 2>/dev/null | cut -d' ' -f2) || version=
if [ -z "$version" ] || ! command -v cargo >/dev/null; then
    echo "DataDB needs Rust $RUST_MIN or newer, and there is none: install it from https://rustup.rs" >&2
    exit 1
fi
if [ "$(printf '%s\n' "$RUST_MIN" "$version" | sort -V | head -n1)" != "$RUST_MIN" ]; then
    echo "DataDB needs Rust $RUST_MIN or newer, and here is $version: run \`rustup update stable\` (https://rustup.rs)" >&2
    exit 1
fi

if [ "${1:-build}" = test ] && ! { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
    echo "the tests need rustfmt and clippy: run \`rustup component add rustfmt clippy\`" >&2
    exit 1
fi

missing=
need() { # need PROGRAM PACKAGE
    command -v "$1" >/dev/null || PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null || missing="$missing $2"
}
has_file() { for file; do [ -e "$file" ] && return; done; return 1; }

need g++ g++
need make make
has_file /etc/ssl/certs/ca-certificates.crt || missing="$missing ca-certificates"
# bindgen reads RocksDB's header with libclang and clang's own headers.
if ! has_file /usr/lib/llvm-*/lib/libclang.so* /usr/lib/llvm-*/lib/libclang-*.so* /usr/lib/*/libclang-*.so*; then
    missing="$missing libclang"
elif ! has_file /usr/lib/llvm-*/lib/clang/*/include/stddef.h /usr/lib/clang/*/include/stddef.h; then
    missing="$missing libclang"
fi
if [ "${1:-build}" = test ]; then
    need setfacl acl
    need setfattr attr
    need setcap libcap2-bin
    need time time
    need setpriv util-linux
    need mount mount
    need git git
    need unzip unzip
    need openssl openssl
    has_file /usr/share/zoneinfo/Asia/Tokyo || missing="$missing tzdata"
    need redis-cli redis-tools
    need redis-server redis-server
    # Root mounts by itself.
    [ "$(id -u)" = 0 ] || need fusermount3 fuse3
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
fi
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "DataDB needs these (by their Debian names), and there is no apt-get here:$missing" >&2
    exit 1
fi
is_root=false
[ "$(id -u)" != 0 ] || is_root=true
if $is_root && ! has_file /var/lib/apt/lists/*Packages*; then
    apt-get update -qq
fi
# libclang's packages carry a version in their names: the oldest that will do is the smallest.
case $missing in *libclang*)
    versions=$(apt-cache search --names-only '^libclang1-[0-9]+$' | sed 's/^libclang1-\([0-9]*\) .*/\1/' | sort -n)
    version=$(for one in ${versions:-14}; do [ "$one" -lt 14 ] || { echo "$one"; break; }; done)
    missing=$(echo "$missing" | sed "s/ libclang\( \|\$\)/ libclang1-$version libclang-common-$version-dev\1/")
esac
install="apt-get install -y --no-install-recommends$missing"
if ! $is_root; then
    echo "DataDB needs some packages; run this, then make again: sudo $install" >&2
    exit 1
fi
echo "installing:$missing" >&2
# Lists that are older than the mirror name packages that are gone: fetch them anew once.
DEBIAN_FRONTEND=noninteractive $install -qq >/dev/null </dev/null ||
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive $install -qq >/dev/null </dev/null; }
