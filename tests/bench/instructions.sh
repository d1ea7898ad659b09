#!/bin/sh
# Counts the instructions of every stage of a backup by callgrind, and compares them with those on record.
#
# usage: instructions.sh STAGES_PROGRAM [--record]
# A round's count is what twice as many rounds take more, divided by the rounds: preparing and starting cancel out. More
# than 10 % more than on record is a failure; `--record` puts the present counts on record.
set -eu
stages=$1 record=$(dirname "$0")/instructions.txt
rounds=6
command -v valgrind >/dev/null || { echo 'valgrind is missing: apt-get install valgrind' >&2; exit 1; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

count() { # count STAGE ROUNDS
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$stages" "$1" "$2" 2>&1 >/dev/null |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

for stage in $("$stages" list); do
    few=$(count "$stage" "$rounds")
    many=$(count "$stage" $((2 * rounds)))
    [ -n "$few" ] && [ -n "$many" ] || { echo "$stage did not run to its end: try \`$stages $stage 1\`" >&2; exit 1; }
    echo "$stage $(((many - few) / rounds))"
done >"$scratch/now"

if [ "${2:-}" = --record ]; then
    {
        echo '# Instructions a round of each stage (stages.rs says what a round is), by callgrind; see instructions.sh.'
        cat "$scratch/now"
    } >"$record"
fi
awk 'NR == FNR { if ($1 != "#") before[$1] = $2; next }
    !($1 in before) { printf "%-14s %12d  not on record\n", $1, $2; failed = 1; next }
    {
        more = 100 * ($2 / before[$1] - 1)
        printf "%-14s %12d  %+.1f %%%s\n", $1, $2, more, (more > 10 ? "  TOO MUCH" : "")
        if (more > 10) failed = 1
    }
    END { exit failed }' "$record" "$scratch/now"
