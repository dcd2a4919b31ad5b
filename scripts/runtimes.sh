#!/bin/sh
# Builds the OCI runtimes that tests need and Debian 12 does not have into
# bin/runtimes, from the module test/runtimes: runc, with seccomp.
set -eu
cd "$(dirname "$0")/.."

module=test/runtimes
program=bin/runtimes/runc
if [ -x $program ] && [ $program -nt $module/go.mod ] && [ $program -nt $module/go.sum ]; then
	echo "runtimes: $program"
	exit 0
fi
scripts/deps.sh gcc libc6-dev libseccomp-dev pkg-config
echo "runtimes: building $program from $module"
mkdir -p bin/runtimes
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
(cd $module && GOFLAGS= CGO_ENABLED=1 go build -trimpath -tags seccomp -o "$work/runc" github.com/opencontainers/runc)
mv "$work/runc" $program
echo "runtimes: built $($program --version | head -1)"
