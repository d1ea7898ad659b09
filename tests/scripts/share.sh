#!/bin/sh
# Writes the client's completions and manual pages where bash, zsh, fish and man look for them.
set -eu
client=$1 share=$2
write() { # write SHELL FILE
    mkdir -p "$(dirname "$share/$2")"
    "$client" completions "$1" >"$share/$2"
}
write bash bash-completion/completions/datadb-client
write zsh zsh/site-functions/_datadb-client
write fish fish/vendor_completions.d/datadb-client.fish
mkdir -p "$share/man/man1"
"$client" man "$share/man/man1"
