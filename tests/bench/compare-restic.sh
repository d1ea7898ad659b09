#!/bin/bash
# DataDB beside restic, in one run on one machine: first backup, unchanged, next version, restore.
#
# usage: compare-restic.sh PROGRAMS TREE [NEXT_VERSION]
# TREE is copied to a working directory below TMPDIR (default /var/tmp), so that "the next version" can take its place
# under the same path. Wall and CPU seconds are those of one run; peak memory is the largest resident set of a process
# (for DataDB client and server apart); the store is `du -s` while the server runs. Page caches are warm for both.
# ROUNDS=N repeats everything N times, the tools in alternating order.
set -euo pipefail
programs=$1 tree=$(realpath -- "$2") next=${3:+$(realpath -- "$3")}
PATH=$programs:$PATH
rounds=${ROUNDS:-1}
for tool in restic /usr/bin/time; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: apt-get install restic time" >&2; exit 1; }
done

place=$(mktemp -d "${TMPDIR:-/var/tmp}/datadb-bench.XXXXXX")
server=
cleanup() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || :
    rm -rf "$place"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
export RESTIC_PASSWORD=bench RESTIC_PROGRESS_FPS=0.001

ticks=$(getconf CLK_TCK)
server_cpu() { awk -v hz="$ticks" '{ print ($14 + $15) / hz }' "/proc/$server/stat"; }
server_peak() { awk '/VmHWM/ { print int($2 / 1024) }' "/proc/$server/status"; }
forget_peak() { echo 5 >"/proc/$server/clear_refs"; }
megabytes() { du -s --block-size=1M "$1" | cut -f1; }
row() { printf '%-14s %-8s %8s %8s %10s %10s %9s\n' "$@"; }

# measure STEP TOOL STORE COMMAND…
measure() {
    local step=$1 tool=$2 store=$3 wall cpu peak before=0 more=0 side=-
    shift 3
    sync
    if [ "$tool" = datadb ]; then forget_peak; before=$(server_cpu); fi
    /usr/bin/time -f '%e %U %S %M' -o "$place/time" "$@" >"$place/out" 2>&1 || [ $? = 3 ] ||
        { cat "$place/out" >&2; exit 1; }
    read -r wall user system peak < <(tail -n1 "$place/time")
    if [ "$tool" = datadb ]; then
        more=$(awk -v a="$before" -v b="$(server_cpu)" 'BEGIN { print b - a }')
        side=$(server_peak)
    fi
    cpu=$(awk -v a="$user" -v b="$system" -v c="$more" 'BEGIN { printf "%.2f", a + b + c }')
    row "$step" "$tool" "$wall" "$cpu" "$((peak / 1024))" "$side" "$(megabytes "$store")"
}

start() {
    rm -f "$place/ready" # the last round's
    datadb-server --data-dir "$1" --listen 127.0.0.1:0 --http off >"$place/ready" 2>"$place/server.log" &
    server=$!
    until [ -s "$place/ready" ]; do
        kill -0 "$server" || { cat "$place/server.log" >&2; exit 1; }
        sleep 0.05
    done
    DATADB_SERVER=$(grep -o 'http://[^ ,]*' "$place/ready")
    export DATADB_SERVER
}

put() { # put VERSION: it becomes the tree, every file newly written, as after unpacking an archive
    rm -rf "$place/tree"
    cp -a "$1" "$place/tree"
}

datadb_backup() { measure "$1" datadb "$place/datadb" env XDG_CACHE_HOME="$place/cache-datadb" datadb-client -q snapshot "$place/tree"; }
restic_backup() { measure "$1" restic "$place/restic" restic -r "$place/restic" --cache-dir "$place/cache-restic" backup "$place/tree"; }
both() { # both STEP ROUND
    if [ $(($2 % 2)) = 1 ]; then datadb_backup "$1"; restic_backup "$1"; else restic_backup "$1"; datadb_backup "$1"; fi
}

echo "DataDB $(datadb-client --version | cut -d' ' -f2), $(restic version | cut -d' ' -f1,2), $(nproc) cores, $(uname -sr)"
echo "tree: $(find "$tree" | wc -l) entries, $(megabytes "$tree") MiB (du)"
for round in $(seq "$rounds"); do
    [ "$rounds" = 1 ] || echo "round $round"
    row step tool 'wall s' 'CPU s' 'client MiB' 'server MiB' 'store MiB'
    put "$tree"
    sleep 3 # files changed a moment ago are not trusted by a cache
    start "$place/datadb"
    restic -r "$place/restic" --cache-dir "$place/cache-restic" init -q
    both first "$round"
    both unchanged "$round"
    if [ -n "$next" ]; then
        put "$next"
        sleep 3
        both 'next version' "$round"
    fi
    measure restore datadb "$place/datadb" datadb-client -q restore latest --target "$place/back-datadb"
    measure restore restic "$place/restic" restic -r "$place/restic" --cache-dir "$place/cache-restic" restore latest --target "$place/back-restic"
    for back in "$place/back-datadb" "$place/back-restic$place/tree"; do
        diff -r --no-dereference "$place/tree" "$back" >"$place/diff" || { head -n5 "$place/diff"; echo "$back differs"; }
    done
    kill -TERM "$server"
    wait "$server"
    server=
    rm -rf "$place"/{tree,datadb,restic,cache-datadb,cache-restic,back-datadb,back-restic}
done
