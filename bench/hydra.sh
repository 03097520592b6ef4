#!/bin/sh
# hydra.sh builds ory/hydra into .cache, from the module proxy. `go install` refuses a module that replaces another by a
# folder of its own; that one can be had like any other too, so the copy does without.
set -eu
cd "$(dirname "$0")"
version=v2.3.0
go=${GO:-go}
export GOFLAGS=-mod=mod GOWORK=off

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && $go mod init bench-hydra 2>/dev/null)
dir=$(cd "$tmp" && $go mod download -json "github.com/ory/hydra/v2@$version" | sed -n 's/^.*"Dir": "\(.*\)",$/\1/p')
[ -n "$dir" ] || { echo "hydra.sh: hydra $version cannot be had here" >&2; exit 1; }
cp -r "$dir" "$tmp/hydra"
chmod -R u+w "$tmp/hydra"
mkdir -p .cache
out=$PWD/.cache/hydra
cd "$tmp/hydra"
$go mod edit -dropreplace github.com/ory/hydra-client-go/v2
CGO_ENABLED=1 $go build -tags sqlite,json1 -o "$out" .
