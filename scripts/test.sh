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

echo "test: building"
go build -tags "$tags" ./... 2>/dev/null || : # the tests report it

# tests COUNT PACKAGES runs so many packages at once; what fails the summary tells.
tests() {
	# shellcheck disable=SC2086 # they are many words
	[ -z "$2" ] || go test -json -p "$1" -timeout 40m -tags "$tags" $2 || :
}

# The agents and containers of these would slow each other down beyond their
# deadlines.
alone='/test/(driver|e2e)$'
packages=$(go list -e -tags "$tags" "$@")
{
	tests 2 "$(echo "$packages" | grep -vE "$alone")"
	tests 1 "$(echo "$packages" | grep -E "$alone")"
} | "$summary"
