#!/bin/sh
# Runs tests and sums up: test.sh TAGS PACKAGE...
set -eu
cd "$(dirname "$0")/.."

tags=$1
shift
# What a test waits for comes at once where all is well. Machines that others
# share pause now and then.
export POD_TEST_PATIENCE="${POD_TEST_PATIENCE:-4}"
summary=$(mktemp)
trap 'rm -f "$summary"' EXIT
go build -o "$summary" ./test/summary

# Build side by side, but run one package at a time: the agents and containers
# of several would slow each other down beyond their deadlines.
echo "test: building"
go build -tags "$tags" ./... 2>/dev/null || : # the tests report it
go test -json -p 1 -timeout 40m -tags "$tags" "$@" | "$summary"
