#!/usr/bin/env bash
# check.sh STAGE… runs stages of `make test`, all of them even if one fails, and ends with one line that counts
# the tests: "N passed, N failed, N skipped". A failed stage that is no test counts as one failure, so that
# "0 failed" and exit code 0 always go together. Works with bash 3.2, which macOS has.
set -euo pipefail
cd "$(dirname "$0")/.."

GO=${GO:-go} PKGS=${PKGS:-} FUZZTIME=${FUZZTIME:-20000x}
STATICCHECK=honnef.co/go/tools/cmd/staticcheck@v0.8.2

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export TESTSUM_COUNTS=$tmp/counts TESTSUM_SKIPS=$tmp/skips
: >"$TESTSUM_COUNTS" >"$TESTSUM_SKIPS"

die() { echo "check.sh: $*" >&2; exit 1; }

# modules lists the folders with a go.mod, the root first; only the root if PKGS is set.
modules() {
	if [ -n "$PKGS" ]; then echo .; else git ls-files -co --exclude-standard 'go.mod' '*/go.mod' | sort -u | xargs -n1 dirname; fi
}

# each runs a command in every module, in all of them even if one fails.
each() {
	local dir rc=0
	for dir in $(modules); do
		[ "$dir" = . ] || echo "--- $dir"
		(cd "$dir" && "$@") || rc=1
	done
	return $rc
}

# setup finds what the tests need, or installs it, or says what to do. It sets up $tmp/with and $tmp/testsum.
setup() {
	"$GO" build -o "$tmp/" ./internal/pgtest/with ./scripts/testsum || die "the test tools do not build"

	local need=()
	if ! "$tmp/with" -- true 2>"$tmp/why"; then need+=(postgresql); fi # also tries AUTHZ_TEST_POSTGRES_DSN: nothing to start
	if ! PATH=$PATH:/usr/sbin:/opt/homebrew/bin command -v pgbouncer >/dev/null; then need+=(pgbouncer); fi
	local cc
	cc=$("$GO" env CC)
	if ! command -v "${cc%% *}" >/dev/null; then # for the race detector
		[ "$(uname)" != Darwin ] || die "no C compiler, which go test -race needs: xcode-select --install"
		need+=(gcc)
	fi
	[ ${#need[@]} -gt 0 ] || return 0

	local advice="install ${need[*]} and run this again (instead of postgresql, AUTHZ_TEST_POSTGRES_DSN=postgres://… may name a server that you have)"
	echo "missing: ${need[*]}; installing"
	if command -v apt-get >/dev/null; then
		local sudo=
		if [ "$(id -u)" != 0 ]; then
			sudo -n true 2>/dev/null || die "$advice (apt-get needs root, and sudo asks for a password)"
			sudo="sudo -n"
		fi
		{ $sudo apt-get update -q && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy "${need[@]/gcc/build-essential}"; } \
			>"$tmp/install" 2>&1 || { tail -5 "$tmp/install" >&2; die "$advice"; }
	elif command -v brew >/dev/null; then
		brew install "${need[@]}" >"$tmp/install" 2>&1 || { tail -5 "$tmp/install" >&2; die "$advice"; }
	else
		die "$advice"
	fi
	"$tmp/with" -- true || die "$advice"
}

# counted runs go test beside PostgreSQL: nothing that needs it may skip, and nothing comes from the test cache.
counted() {
	AUTHZ_TEST_REQUIRE_POSTGRES=1 "$tmp/with" -- "$GO" test -json "$@" | "$tmp/testsum"
}

stage_fmt() {
	local bad
	bad=$(git ls-files -co --exclude-standard '*.go' | while read -r f; do [ ! -e "$f" ] || echo "$f"; done | xargs gofmt -l)
	[ -z "$bad" ] || { echo "not formatted (make fmt):"; echo "$bad"; return 1; }
}

stage_vet() { each "$GO" vet ${PKGS:-./...}; }

stage_staticcheck() { each "$GO" run "$STATICCHECK" ${PKGS:-./...}; }

# The other modules go without -race: the libraries that they need take minutes to build for it from a cold cache, and
# what they call is raced by the tests of this one.
stage_unit() { each unit_module; }
unit_module() {
	if [ -f authz.go ]; then
		CGO_ENABLED=1 counted -race -count=1 ${PKGS:-./...} || return 1 # -race needs cgo
		[ -n "$PKGS" ] || counted -count=1 -run '^TestAllocations$' . # which -race would add to
	else
		counted -count=1 ./...
	fi
}

# The great race: 4 processes, 64 goroutines each, 200 keys, with deleters. Without -race, which would be most of the load.
stage_processes() {
	[ -n "$PKGS" ] || AUTHZ_TEST_FULL=1 counted -count=1 -v -run '^TestProcesses$' ./store/sqlite ./store/postgres
}

# go test -list prints the targets of a package and then "ok PACKAGE TIME".
stage_fuzz() { each fuzz_module; }
fuzz_module() {
	local list rc=0
	list=$("$GO" test -list '^Fuzz' ${PKGS:-./...}) || { echo "$list"; return 1; }
	while read -r pkg target; do
		[ -n "$pkg" ] || continue
		echo "$pkg $target for $FUZZTIME"
		counted -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" "$pkg" </dev/null || rc=1
	done <<<"$(awk '/^Fuzz/ { names[n++] = $1 } $1 == "ok" { for (i = 0; i < n; i++) print $2, names[i]; n = 0 }' <<<"$list")"
	return $rc
}

# Only the root module is for use elsewhere. Without optimizing it takes half the time, and only whether it builds is asked.
stage_cross() {
	local platform rc=0
	for platform in linux/arm64 darwin/arm64 windows/amd64; do
		CGO_ENABLED=0 GOOS=${platform%/*} GOARCH=${platform#*/} "$GO" build -gcflags=all='-N -l' ${PKGS:-./...} || { echo "$platform does not build"; rc=1; }
	done
	return $rc
}

stage_cover() {
	counted -count=1 -coverprofile="$tmp/cover" -coverpkg=./... ${PKGS:-./...} &&
		"$GO" tool cover -func="$tmp/cover" && "$GO" tool cover -html="$tmp/cover" -o coverage.html
}

command -v "$GO" >/dev/null || die "there is no $GO command: install Go $(awk '$1 == "go" { print $2 }' go.mod) or newer"
"$GO" list -m >/dev/null || die "this Go does not do: $("$GO" env GOVERSION)" # go itself says which version go.mod wants

failed=
began=$SECONDS
for stage in setup "$@"; do
	case $stage in
	setup) case " $* " in *" unit "* | *" processes "* | *" fuzz "* | *" cover "*) ;; *) continue ;; esac ;;
	fmt | vet | staticcheck | unit | processes | fuzz | cross | cover) ;;
	*) die "no stage named $stage" ;;
	esac
	echo "==> $stage"
	start=$SECONDS
	case $stage in
	setup) setup ;; # ends the script itself if it fails
	*)
		before=$(wc -c <"$TESTSUM_COUNTS")
		# A subshell of its own, as `if stage_x` would switch off set -e within it.
		set +e
		(set -e; "stage_$stage")
		rc=$?
		set -e
		if [ $rc != 0 ]; then
			failed="$failed $stage"
			# unless its tests were counted as failed
			tail -c +$((before + 1)) "$TESTSUM_COUNTS" | awk '{ n += $2 } END { exit n == 0 }' || echo "0 1 0" >>"$TESTSUM_COUNTS"
			echo "==> $stage FAILED after $((SECONDS - start)) s"
			continue
		fi
		;;
	esac
	echo "==> $stage ok, $((SECONDS - start)) s"
done

echo
if [ -s "$TESTSUM_SKIPS" ]; then
	echo "Skipped tests:"
	sort -u "$TESTSUM_SKIPS" | sed 's/^/    /'
fi
[ -z "$failed" ] || echo "Failed stages:$failed"
echo "$((SECONDS - began)) s in all"
awk '{ p += $1; f += $2; s += $3 } END { printf "%d passed, %d failed, %d skipped\n", p, f, s }' "$TESTSUM_COUNTS"
[ -z "$failed" ]
