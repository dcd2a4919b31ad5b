#!/bin/sh
# Runs tests and sums up: test.sh TAGS PACKAGE...
#
# From the environment:
#   TIMEOUT            of each package, 40m
#   POD_TEST_PATIENCE  how much longer than on a fast machine tests wait, 4
#   POD_TEST_ALL       the full matrix, see test/internal/matrix
#   RERUN              how often a failed test is run again, alone, before it counts as failed; 0
set -eu
cd "$(dirname "$0")/.."

tags=$1
shift
export POD_TEST_PATIENCE="${POD_TEST_PATIENCE:-4}"

# Packages whose tests wait most of the time begin first, and run beside the
# others. Without version 1 of cgroups their sandboxes have no cgroups of their
# own, and one would see what the other makes.
waiting='/test/(driver|e2e|pod)$'
at_once=3
[ -d /sys/fs/cgroup/memory ] || at_once=1
packages=$(go list -e -tags "$tags" "$@")
ordered="$(echo "$packages" | grep -E "$waiting" || :) $(echo "$packages" | grep -vE "$waiting" || :)"

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
events=$results/events reruns=$results/reruns
status=0
bin/tools/gotestsum --format pkgname-and-test-fails --format-hide-empty-pkg --jsonfile "$events" \
	--rerun-fails="${RERUN:-0}" --rerun-fails-max-failures=12 --rerun-fails-run-root-test --rerun-fails-report="$reruns" \
	--packages "$ordered" -- -p "$at_once" -parallel 4 -timeout "${TIMEOUT:-40m}" -tags "$tags" || status=$?

if [ -s "$reruns" ]; then
	echo "Run more than once, since they failed:"
	cat "$reruns"
fi

# Tests that attack the product log their seed and their counts.
grep -o 'adversary: [^"\\]*' "$events" | sort -u
exit $status
