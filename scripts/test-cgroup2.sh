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
#   RUNTIMES   "crun runc": a machine for each, at the same time
#   MEMORY     of a machine, 3072M
#   TIMEOUT    in minutes, 60: then the machines are killed
#   PATIENCE   by how much longer than elsewhere the tests wait, 10
set -eu
cd "$(dirname "$0")/.."

tags=$1
shift
[ $# -gt 0 ] || set -- ./driver/cgroup ./driver/namespace ./driver/process ./driver/pod ./test/pod ./test/driver
minutes=${TIMEOUT:-60}
runtimes=${RUNTIMES:-crun runc}

say() {
	echo "cgroup2: $*"
}

case $PWD/ in
/tmp/* | /run/* | /dev/*)
	say "the machine has file systems of its own at /tmp, /run and /dev: move $PWD elsewhere" >&2
	exit 1
	;;
esac

# Whether this processor has registers that the kernel can not restore, see
# test/cgroup2/xstate.c.
wide_registers() {
	grep -q -w -m 1 amx_tile /proc/cpuinfo
}

need() {
	missing=
	for package in user-mode-linux kmod iproute2 crun runc conmon catatonit $(! wide_registers || echo gcc libc6-dev); do
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
mkdir -p bin
exec 9>"$work.lock" # the machines hold it too
if ! flock --nonblock 9; then
	say "another run has its machines in $work: wait for its end"
	exit 1
fi
rm -rf "$work"
mkdir -p "$work/.uml"

# One folder per package, named after it.
compile() {
	for package; do
		path=$(go list -tags "$tags" "$package")
		dir=$work/$(echo "$path" | tr / _)
		mkdir "$dir"
		echo "$path" >"$dir/package"
		CGO_ENABLED=0 go test -c -tags "$tags" -o "$dir/test" "$package"
		go list -tags "$tags" -f '{{.Dir}}' "$package" >"$dir/source" # where "go test" runs it
	done
}

say "compiling"
compile "$@"
CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$work/.hostiletask" ./test/cmd/hostiletask
shim=
if wide_registers; then
	shim=$work/xstate.so
	gcc -O2 -Wall -Werror -shared -fPIC -o "$shim" test/cgroup2/xstate.c
fi

# boot RUNTIME runs the tests of one OCI runtime in a machine of their own; a
# machine has one processor. It returns when the machine is off.
boot() {
	other=crun
	[ "$1" = runc ] || other=runc
	: >"$work/console.$1"
	env ${shim:+LD_PRELOAD="$shim"} /usr/bin/linux.uml uml_dir="$work/.uml/" mem="${MEMORY:-3072M}" \
		root=/dev/root rootfstype=hostfs rootflags=/ ro quiet loglevel=4 panic=-1 \
		con=null con0=null,fd:1 ssl=null init="$PWD/test/cgroup2/init.sh" \
		POD_TEST_WORK="$work" POD_TEST_NAME="$1" POD_TEST_TIMEOUT="${minutes}m" \
		POD_TEST_HOSTILETASK=/tmp/work/.hostiletask POD_TEST_OWN_CLOCK=1 POD_TEST_PATIENCE="${PATIENCE:-10}" POD_TEST_ALL=1 POD_TEST_RUN="${RUN:-.}" POD_TEST_SKIP="./$other|././$other" \
		</dev/null 2>"$work/kernel.$1" >"$work/console.$1" &
	machine=$!
	trap 'stop $machine; wait; exit 1' TERM
	tail -q -n +1 -f --pid=$machine "$work/console.$1" | grep -a --line-buffered -e '^cgroup2: ' -e '^--- ' &
	wait $machine || :
	stop $machine # what it left, if it crashed
	wait
}

# A machine is several processes of the host, and a session of its own.
stop() {
	kill -s KILL -- "-$1" 2>/dev/null || kill -s KILL "$1" 2>/dev/null || :
}

say "booting; the tests may take $minutes minutes"
started=$(date +%s)
machines=
trap 'kill $machines 2>/dev/null || :; wait' EXIT
trap 'exit 1' HUP INT TERM
for runtime in $runtimes; do
	boot "$runtime" &
	machines="$machines $!"
done
(
	for _ in $(seq $((minutes * 60))); do
		sleep 1
		kill -0 $machines 2>/dev/null || exit 0
	done
	say "not done after $minutes minutes"
	kill $machines 2>/dev/null || :
) &
for machine in $machines; do
	wait "$machine" || :
done
machines=
say "ran for $(($(date +%s) - started)) s; logs are in $work"

# Counts the results of tests that have no subtests, by runtime. Those of
# neither ran in each machine and are counted once, as failed if one failed.
count() {
	for runtime in $runtimes; do
		for log in "$work"/*/log."$runtime"; do
			sed -n 's/^.*--- \(PASS\|FAIL\|SKIP\): \([^ ]*\) (.*/\1 \2/p' "$log" |
				awk -v package="$(dirname "$log")" '{ print $1, package "/" $2 }'
		done
	done | awk '
		result[$2] != "FAIL" { result[$2] = $1 }
		{ parent = $2; while (sub("/[^/]*$", "", parent)) inner[parent] = 1 }
		END {
			for (name in result) if (!(name in inner)) {
				runtime = "neither"
				if (match(name "/", "/(crun|runc)/")) runtime = substr(name, RSTART + 1, 4)
				n[runtime, result[name]]++
			}
			count = split("crun runc neither", runtimes)
			for (i = 1; i <= count; i++) {
				r = runtimes[i]
				printf "cgroup2: %-8s %d passed, %d failed, %d skipped\n", r, n[r, "PASS"], n[r, "FAIL"], n[r, "SKIP"]
			}
		}'
}

# What failed and what was skipped, and why. The last line of the summary would
# count some tests twice.
bad=0
: >"$work/events"
for dir in "$work"/*/; do
	for runtime in $runtimes; do
		name="$(cat "$dir/package") with $runtime"
		status=$(cat "$dir/exit.$runtime" 2>/dev/null) || status="unknown: the machine stopped before its end"
		if [ "$status" != 0 ]; then
			say "$name: exit code $status"
			bad=1
		fi
		[ ! -f "$dir/log.$runtime" ] || go tool test2json -t -p "$name" <"$dir/log.$runtime" >>"$work/events"
	done
done
bin/tools/gotestsum --format pkgname --raw-command -- cat "$work/events" | sed '$d'
count
exit $bad
