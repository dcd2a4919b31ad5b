#!/bin/sh
# Runs the driver's tests on a pure cgroup v2 kernel: test-cgroup2.sh TAGS
# [PACKAGE...]
#
# The kernel is Debian's user-mode-linux, an ordinary program. It boots within
# a second with the host's root file system read-only as its own, so that the
# host's crun, runc and conmon are what is tested; test/cgroup2/init.sh is its
# first process. Nothing of the host is changed but bin/cgroup2, where the
# tests' logs are left. Neither KVM nor an image of a disk is needed.
#
# The tests are those of "make test", compiled here and run there, about five
# times slower on one processor. What this kernel has not: the cpuset
# controller, a nat table, and more than one processor.
#
# From the environment:
#   RUN        run only these tests, as "go test -run" takes it
#   MEMORY     of the machine, 3072M
#   TIMEOUT    in minutes, 40: then the machine is killed
#   PATIENCE   by how much longer than elsewhere the tests wait, 6
set -eu
cd "$(dirname "$0")/.."

tags=$1
shift
[ $# -gt 0 ] || set -- ./driver/cgroup ./driver/namespace ./driver/process ./driver/pod ./test/driver
minutes=${TIMEOUT:-40}

say() {
	echo "cgroup2: $*"
}

need() {
	missing=
	for package in user-mode-linux kmod iproute2 crun runc conmon catatonit; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' $package 2>/dev/null)" = installed ] || missing="$missing $package"
	done
	[ -n "$missing" ] || return 0
	if ! command -v apt-get >/dev/null; then
		say "needs what Debian has in the packages$missing" >&2
		exit 1
	fi
	sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	say "installing$missing"
	$sudo apt-get update -q
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing </dev/null
}

need
work=$PWD/bin/cgroup2
rm -rf "$work"
mkdir -p "$work"

# One folder per package, named after it.
compile() {
	for package; do
		path=$(go list -tags "$tags" "$package")
		dir=$work/$(echo "$path" | tr / _)
		mkdir "$dir"
		echo "$path" >"$dir/package"
		CGO_ENABLED=0 go test -c -tags "$tags" -o "$dir/test" "$package"
		source=$(go list -tags "$tags" -f '{{.Dir}}' "$package")
		[ ! -d "$source/testdata" ] || cp -R "$source/testdata" "$dir/"
	done
	CGO_ENABLED=0 go build -o "$work/summary" ./test/summary
}

say "compiling"
compile "$@"

say "booting; the tests may take $minutes minutes"
started=$(date +%s)
console=$work/console
mkfifo "$console"
grep -a --line-buffered -e '^cgroup2: ' -e '^--- ' <"$console" &
progress=$!
/usr/bin/linux.uml mem="${MEMORY:-3072M}" \
	root=/dev/root rootfstype=hostfs rootflags=/ ro quiet loglevel=4 panic=-1 \
	con=null con0=null,fd:1 ssl=null \
	init="$PWD/test/cgroup2/init.sh" POD_TEST_WORK="$work" POD_TEST_TIMEOUT="${minutes}m" \
	POD_TEST_PATIENCE="${PATIENCE:-6}" POD_TEST_RUN="${RUN:-.}" \
	</dev/null >"$console" 2>"$work/kernel.log" &
machine=$!

# The machine is several processes of the host, and a session of its own.
stop_machine() {
	kill -KILL -- -$machine 2>/dev/null || kill -KILL $machine 2>/dev/null || :
}
trap stop_machine EXIT
trap 'exit 1' HUP INT TERM
(
	for _ in $(seq $((minutes * 60))); do
		sleep 1
		kill -0 $machine 2>/dev/null || exit 0
	done
	say "not done after $minutes minutes"
	stop_machine
) &
limit=$!
wait $machine || :
stop_machine
wait $limit $progress || :
rm "$console"
say "ran for $(($(date +%s) - started)) s; logs are in $work"

# Counts the results of tests that have no subtests, by runtime.
count() {
	sed -n 's/^.*--- \(PASS\|FAIL\|SKIP\): \([^ ]*\) (.*/\1 \2/p' "$work"/*/log | awk '
		{ result[$2] = $1; parent = $2; while (sub("/[^/]*$", "", parent)) inner[parent] = 1 }
		END {
			for (name in result) if (!(name in inner)) {
				runtime = "neither"
				if (match("/" name "/", "/(crun|runc)/")) runtime = substr(name, RSTART, 4)
				n[runtime, result[name]]++
			}
			split("crun runc neither", runtimes)
			for (i = 1; i <= 3; i++) {
				r = runtimes[i]
				printf "cgroup2: %-7s %d passed, %d failed, %d skipped\n", r, n[r, "PASS"], n[r, "FAIL"], n[r, "SKIP"]
			}
		}'
}

bad=0
for dir in "$work"/*/; do
	status=$(cat "$dir/exit" 2>/dev/null) || status="none, the machine stopped before its end"
	[ "$status" = 0 ] || bad=1
	[ "$status" = 0 ] || say "$(cat "$dir/package"): exit code $status"
	[ ! -f "$dir/log" ] || go tool test2json -t -p "$(cat "$dir/package")" <"$dir/log"
done >"$work/events"
grep -a '^cgroup2: ' "$work/events" || :
grep -a '^{' "$work/events" | "$work/summary" || bad=1
count
exit $bad
