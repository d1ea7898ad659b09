#!/bin/sh
# Builds the stages (with the release profile, so that nothing is compiled twice) and prints where the program lies.
#
# usage: stages.sh TARGET_DIRECTORY
set -eu
export CARGO_TARGET_DIR="$1"
cargo build --quiet --release --locked --bench stages
cargo build --release --locked --bench stages --message-format=json 2>/dev/null |
    sed -n 's/.*"name":"stages".*"executable":"\([^"]*\)".*/\1/p' | tail -n1
