#!/bin/sh
# Installs the Debian packages that building, tests and the demo need, and
# those given as arguments. Prints what was missing, and does nothing where all
# are there. It starts no service.
set -eu

packages="ca-certificates catatonit conmon containernetworking-plugins crun curl git
	iproute2 iptables jq nginx-light openssl procps runc strace util-linux $*"

need_go() {
	have=$(go env GOVERSION 2>/dev/null) || have=none
	case $have in
	go1.2[6-9]* | go1.[3-9][0-9]* | go[2-9]*) ;;
	*)
		echo "deps: needs Go 1.26 or newer, and finds $have: get it from https://go.dev/dl/" >&2
		exit 1
		;;
	esac
}

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		echo "deps: needs root, or sudo, to run: $*" >&2
		exit 1
	fi
}

# Debian starts a service as soon as it is installed, nginx on port 80, unless
# this program forbids it. An administrator's own one is left alone.
policy=/usr/sbin/policy-rc.d
forbid_services() {
	[ -e $policy ] && return
	trap 'as_root rm -f $policy' EXIT
	trap 'exit 1' HUP INT TERM
	printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
	as_root chmod 755 $policy
}

need_go
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	echo "deps: this is no Debian. Install by its own means what these packages hold:" >&2
	echo $packages >&2
	exit 1
fi

missing=
for package in $packages; do
	installed "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "deps: missing:$missing"
forbid_services
as_root apt-get update -q
as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing </dev/null
echo "deps: installed:$missing"
