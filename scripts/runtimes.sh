#!/bin/sh
# Builds the OCI runtimes that tests need and Debian 12 does not have into
# bin/runtimes: runc, with seccomp, from the module test/runtimes, and gVisor's
# runsc from test/runtimes/runsc.
set -eu
cd "$(dirname "$0")/.."

mkdir -p bin/runtimes
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# current PROGRAM MODULE: whether the program is newer than its module.
current() {
	[ -x "$1" ] && [ "$1" -nt "$2/go.mod" ] && [ "$1" -nt "$2/go.sum" ]
}

if current bin/runtimes/runc test/runtimes; then
	echo "runtimes: bin/runtimes/runc"
else
	scripts/deps.sh gcc libc6-dev libseccomp-dev pkg-config
	echo "runtimes: building bin/runtimes/runc from test/runtimes"
	(cd test/runtimes && GOFLAGS= CGO_ENABLED=1 go build -trimpath -tags seccomp -o "$work/runc" github.com/opencontainers/runc)
	mv "$work/runc" bin/runtimes/runc
	echo "runtimes: built $(bin/runtimes/runc --version | head -1)"
fi

if current bin/runtimes/runsc test/runtimes/runsc; then
	echo "runtimes: bin/runtimes/runsc"
else
	echo "runtimes: building bin/runtimes/runsc from test/runtimes/runsc, which takes a minute or more"
	version=$(cd test/runtimes/runsc && GOFLAGS= go list -m -f '{{.Version}}' gvisor.dev/gvisor)
	(cd test/runtimes/runsc && GOFLAGS= CGO_ENABLED=0 go build -trimpath -ldflags "-X gvisor.dev/gvisor/runsc/version.version=$version" \
		-o "$work/runsc" gvisor.dev/gvisor/runsc)
	mv "$work/runsc" bin/runtimes/runsc
	echo "runtimes: built $(bin/runtimes/runsc --version | head -1)"
fi
