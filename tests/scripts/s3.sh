#!/bin/sh
# Builds s3s-fs, a small S3 server for the tests, into the cache, once.
set -eu
root=$1
version=0.14.1
[ "$(cat "$root/version" 2>/dev/null)" != "$version" ] || exit 0
echo "building s3s-fs $version, once: some minutes" >&2
# Its own target directory, which is not needed afterwards: nothing of it is shared.
cargo install s3s-fs --version "$version" --features binary --locked --force --quiet \
    --root "$root" --target-dir "$root/target" </dev/null
rm -rf "$root/target"
echo "$version" >"$root/version"
