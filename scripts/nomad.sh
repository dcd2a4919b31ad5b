#!/bin/sh
# Prints the path of a Nomad of 1.10 or newer: the one NOMAD_BIN names, else
# the one on PATH, else bin/nomad, built from the module test/nomad.
set -eu
cd "$(dirname "$0")/.."

new_enough() {
	version=$("$1" version 2>/dev/null | sed -n 's/^Nomad v\([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
	[ -n "$version" ] || return 1
	set -- $version
	[ "$1" -gt 1 ] || { [ "$1" -eq 1 ] && [ "$2" -ge 10 ]; }
}

found=${NOMAD_BIN:-$(command -v nomad || true)}
if [ -n "$found" ] && new_enough "$found"; then
	echo "nomad: $found"
	exit 0
fi
[ -z "$found" ] || echo "nomad: $found is older than 1.10, and not used"

module=test/nomad
program=bin/nomad
if [ -x $program ] && [ $program -nt $module/go.mod ] && [ $program -nt $module/go.sum ] && new_enough $program; then
	echo "nomad: $program"
	exit 0
fi

echo "nomad: building $program from $module; the first time takes minutes"
mkdir -p bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# Nomad has its exec driver only when a C compiler took part.
if echo 'int main(void) { return 0; }' | ${CC:-cc} -x c -o "$work/probe" - 2>/dev/null; then
	export CGO_ENABLED=1
else
	export CGO_ENABLED=0
	echo "nomad: no C compiler is here (gcc, libc6-dev), so this Nomad will be without the exec driver"
fi

# -v prints a line for each package that is compiled.
(cd $module && go build -v -trimpath -o "$work/nomad" github.com/hashicorp/nomad) 2>"$work/log" &
build=$!
trap 'kill $build 2>/dev/null || true; rm -rf "$work"' EXIT

started=$(date +%s)
while kill -0 $build 2>/dev/null; do
	sleep 1
	elapsed=$(($(date +%s) - started))
	[ $((elapsed % 10)) -ne 0 ] ||
		echo "nomad: $elapsed s, $(grep -c '^go: downloading' "$work/log") modules downloaded, $(grep -vc '^go: ' "$work/log") packages compiled"
done
if ! wait $build; then
	grep -v '^go: downloading' "$work/log" | tail -20 >&2
	echo "nomad: the build of $module ended with an error" >&2
	exit 1
fi
mv "$work/nomad" $program
echo "nomad: built $program in $(($(date +%s) - started)) s"
