#!/bin/bash
# The main job in front of your eyes: back a directory up twice, list, restore, compare, stop.
set -euo pipefail
programs=$1 dir=$(realpath -- "$2")
PATH=$programs:$PATH

place=$(mktemp -d "${TMPDIR:-/var/tmp}/datadb-demo.XXXXXX")
server=
cleanup() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || :
    chmod -R u+rwX "$place" 2>/dev/null || :
    rm -rf "$place"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi
say() { printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"; }
run() { say "$@"; "$@"; }
size() { du -s --block-size=1 "$1" | cut -f1 | numfmt --to=iec --suffix=B; }
now() { date +%s.%N; }
took() { awk -v from="$1" -v to="$(now)" 'BEGIN { printf "%.2f s", to - from }'; }
fact() { printf '  %-22s %s\n' "$1" "$2"; }

# Everything about an entry but what no backup keeps: access and change time, inode, sizes of directories.
# Sockets are never backed up; only root gives files to their owners.
owner='%U:%G'; [ "$(id -u)" = 0 ] || owner=-
describe() {
    (cd "$1" && find . ! -type s \( -type d -printf "%p %y %m $owner %T@\n" -o \
        -printf "%p %y %m $owner %T@ %s %l\n" \) | LC_ALL=C sort)
}

say "datadb-server --data-dir $place/data --listen 127.0.0.1:0 --http off &"
datadb-server --data-dir "$place/data" --listen 127.0.0.1:0 --http off >"$place/ready" 2>"$place/server.log" &
server=$!
for _ in $(seq 300); do
    [ -s "$place/ready" ] && break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
if [ ! -s "$place/ready" ]; then
    server=
    echo "the server did not start:" >&2
    cat "$place/server.log" >&2
    exit 1
fi
cat "$place/ready"
DATADB_SERVER=$(grep -o 'http://[^ ,]*' "$place/ready")
export DATADB_SERVER XDG_CACHE_HOME=$place/cache

# What could not be read (exit code 3) is named, and is no reason to stop.
snapshot() { say datadb-client snapshot "$dir"; datadb-client snapshot "$dir" || [ $? = 3 ]; }
began=$(now); snapshot; first=$(took "$began"); first_size=$(size "$place/data")
began=$(now); snapshot; second=$(took "$began")
run datadb-client snapshots
say "datadb-client ls latest | head -n 8"
datadb-client ls latest | head -n 8
began=$(now); run datadb-client restore latest --target "$place/back"; restored=$(took "$began")
run datadb-client stats

say "diff -r $dir $place/back    # and names, types, modes, owners, times, sizes, link targets"
verdict=equal
diff -r --no-dereference "$dir" "$place/back" >"$place/diff" 2>&1 || verdict=different
grep -v -e 'is a socket' -e 'Permission denied' -e 'is a fifo' -e 'special file' "$place/diff" >"$place/differences" || verdict=equal
diff <(describe "$dir") <(describe "$place/back") >>"$place/differences" || verdict=different
head -n 20 "$place/differences"
echo "the trees are $verdict"

say "kill -TERM $server"
kill -TERM "$server"
if wait "$server"; then echo "the server stopped cleanly"; else verdict="different, and the server ended with $?"; fi
server=

printf '\n%sSummary%s\n' "$bold" "$plain"
fact "source (du)" "$(size "$dir"), $(find "$dir" | wc -l) entries"
fact "first backup" "$first, store $first_size (du)"
fact "second, unchanged" "$second, store $(size "$place/data") (du)"
fact "restore" "$restored"
fact "restored tree" "$verdict"
[ "$verdict" = equal ]
