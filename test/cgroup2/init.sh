#!/bin/sh
# The first process of the virtual machine that scripts/test-cgroup2.sh boots.
#
# It furnishes the machine as systemd and Nomad would find or make it, runs
# the tests that it finds in the folder that POD_TEST_WORK names, which is the
# host's, and switches the machine off. The root is the host's as well, but
# read-only: what tests write lies in memory and goes with the machine.
#
# The kernel hands what its command line sets on as environment:
#   POD_TEST_WORK      one folder per package: its test binary "test", and in
#                      "source" where it runs. "log.NAME" and "exit.NAME" are
#                      written there.
#   POD_TEST_NAME      of the machine
#   POD_TEST_TIMEOUT   for each package, as -test.timeout takes it
#   POD_TEST_RUN       which tests, as -test.run takes it
#   POD_TEST_SKIP      which tests not, as -test.skip takes it
#   POD_TEST_PATIENCE  for the tests, see test/shared/testtimeout
#   POD_TEST_HOSTILETASK  a program that they would build
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/tmp/home TMPDIR=/tmp
umask 022

# The kernel panics when its first process ends before it is off.
power_off() {
	sync
	echo o >/proc/sysrq-trigger
	while :; do sleep 60; done
}
trap power_off EXIT

mount -t proc proc /proc
mount -t sysfs sysfs /sys
echo 1 >/proc/sys/kernel/sysrq
mount --make-rshared /
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
ln -sf /proc/self/fd /dev/fd
mkdir -p $HOME

# modprobe looks below /lib/modules, where the host may have its own ones.
mkdir -p /run/uml/lib
ln -s /usr/lib/uml/modules /run/uml/lib/modules
printf '#!/bin/sh\nexec /sbin/modprobe -d /run/uml "$@"\n' >/run/uml/modprobe
chmod 755 /run/uml/modprobe
echo /run/uml/modprobe >/proc/sys/kernel/modprobe
modprobe -d /run/uml -a overlay veth bridge fuse

mkdir -p /run/var/upper /run/var/work
mount -t overlay -o lowerdir=/var,upperdir=/run/var/upper,workdir=/run/var/work overlay /var

# As systemd leaves it: controllers handed down, no process in an inner group.
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup
cd /sys/fs/cgroup
mkdir -p system.slice/nomad.service
for controller in $(cat cgroup.controllers); do
	echo "+$controller" >cgroup.subtree_control
	echo "+$controller" >system.slice/cgroup.subtree_control
done
echo $$ >system.slice/nomad.service/cgroup.procs
cd /

ip link set lo up
stty -onlcr </dev/console
hostname cgroup2
ulimit -n 65536

mkdir /run/work
mount -t hostfs -o "$POD_TEST_WORK" hostfs /run/work
# Tests hide /run from themselves.
mkdir /tmp/work
mount --bind /run/work /tmp/work
echo "cgroup2: Linux $(uname -r), controllers: $(cat /sys/fs/cgroup/cgroup.controllers)"

for package in /tmp/work/*/; do
	cd "$(cat "$package/source")"
	{
		status=0
		"${package}test" -test.v=test2json -test.timeout "$POD_TEST_TIMEOUT" \
			-test.run "${POD_TEST_RUN:-.}" -test.skip "${POD_TEST_SKIP:-}" 2>&1 || status=$?
		echo $status >"${package}exit.$POD_TEST_NAME"
	} | tee "${package}log.$POD_TEST_NAME" | grep -a --line-buffered -oE -e '--- (PASS|FAIL|SKIP): .*' || :
	cd /
done
