#!/bin/sh
# Builds garage, a distributed S3 store for `make test-cluster`, into the cache, once.
set -eu
root=$1
version=2.5.0
[ "$(cat "$root/version" 2>/dev/null)" != "$version" ] || exit 0
echo "building garage $version, once: about ten minutes" >&2
# Its own target directory, which is not needed afterwards: nothing of it is shared. LMDB is all that its nodes need.
cargo install garage --version "$version" --no-default-features --features lmdb,bundled-libs --locked --force --quiet \
    --root "$root" --target-dir "$root/target" </dev/null
rm -rf "$root/target"
echo "$version" >"$root/version"
