#!/bin/sh
# Tries nomad-sidecar on the system it was built for: smoke.sh COMMAND..., which runs it, such
# as ./nomad-sidecar, or qemu-aarch64-static ./nomad-sidecar. On Windows it runs in the shell of
# git. The checks are those that depend on the system: paths, line ends, the cache folder,
# completion.
set -eu

repository=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
out=$work/out

fail() {
	echo "smoke: $*" >&2
	[ ! -e "$out" ] || cat "$out" >&2
	exit 1
}

# run ARGS...: with the output in $out.
command=$*
run() {
	$command "$@" >"$out" 2>&1 || fail "nomad-sidecar $*: exit code $?"
}

has() {
	grep -q -e "$1" "$out" || fail "the output has no $1"
}

case $(uname -s) in
Darwin) cache=$HOME/Library/Caches separator=: ;;
MINGW* | MSYS* | CYGWIN*) cache=$(cygpath "$LOCALAPPDATA") separator=';' ;;
*) cache=${XDG_CACHE_HOME:-$HOME/.cache} separator=: ;;
esac

cd "$work"
run version
has '^nomad-sidecar [0-9]'

# Folders.
run init demo
run test demo
has '^2 passed, 0 failed'
run lint demo
mkdir -p lf/tls-proxy crlf/tls-proxy
cp "$repository/jobs/sidecars/tls-proxy/tls-proxy.sidecar.hcl" lf/tls-proxy
NOMAD_SIDECAR_CATALOG="lf${separator}demo" run list
has '^tls-proxy '
has '^demo '

# Line ends.
sed 's/\r$//; /sidecar "topz"/d' "$repository/jobs/examples/web.nomad.hcl" >web.nomad.hcl
sed "s/\$/$(printf '\r')/" lf/tls-proxy/tls-proxy.sidecar.hcl >crlf/tls-proxy/tls-proxy.sidecar.hcl
$command inject -catalog lf web.nomad.hcl >want || fail "inject"
$command inject -catalog crlf web.nomad.hcl >got || fail "inject"
cmp want got || fail "definitions with other line ends have another result"
grep -q 'exec nginx' want || fail "no sidecar was injected"
! grep -q "$(printf '\r')" want || fail "line ends were changed"

# The cache folder.
git init -q repository
cp -r lf/. repository
git -C repository add -A
git -C repository -c user.name=smoke -c user.email=smoke@example.test commit -q -m smoke
address=git::file://$(cd repository && { pwd -W 2>/dev/null || pwd; } | sed 's,^\([^/]\),/\1,')
run get -catalog "$address"
run inject -catalog "$address" web.nomad.hcl
cmp want "$out" || fail "a fetched catalog has another result"
ls "$cache/nomad-sidecar/catalogs" >/dev/null || fail "the cache is not in $cache"
run get -upgrade -catalog "$address"

# Completion.
COMP_LINE='nomad-sidecar inj' COMP_POINT=17 run
has '^inject$'
for shell in bash fish powershell zsh; do
	run completion $shell
done

# Wrong input.
if $command inject nothing.nomad.hcl >"$out" 2>&1; then
	fail "a missing job is no error"
fi
echo "smoke: passed on $(uname -s)"
