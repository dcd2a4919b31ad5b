#!/bin/sh
# Makes a machine of new namespaces, and runs a program of it: test-packages-machine.sh ROOT
# CGROUP PROGRAM. The namespaces are made by test-packages.sh; this is their first process.
set -eu
root=$1 cgroup=$2 program=$3

# Each v1 hierarchy gets a cgroup that is the machine's root. crun refuses a machine with both
# versions, so version 2 is left out there.
if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
	if [ "${4:-}" != inside ]; then
		for hierarchy in $(cd /sys/fs/cgroup && ls); do
			own=/sys/fs/cgroup/$hierarchy/$cgroup
			[ "$hierarchy" != unified ] && [ ! -L "/sys/fs/cgroup/$hierarchy" ] || continue
			mkdir "$own"
			for file in cpuset.cpus cpuset.mems; do
				[ ! -e "$own/$file" ] || cat "$own/../$file" >"$own/$file"
			done
			echo $$ >"$own/cgroup.procs"
		done
		exec unshare --cgroup "$0" "$root" "$cgroup" "$program" inside
	fi
	controllers=$(awk -F: '$1 > 0 { print $2 }' /proc/self/cgroup)
fi

mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
mount -t tmpfs -o mode=755 run "$root/run"
if [ -z "${controllers:-}" ]; then
	mount --bind /sys/fs/cgroup "$root/sys/fs/cgroup"
else
	mount -t tmpfs -o mode=755 cgroup "$root/sys/fs/cgroup"
	for controller in $controllers; do
		at=$root/sys/fs/cgroup/${controller#name=}
		mkdir "$at"
		case $controller in
		name=*) mount -t cgroup -o "none,$controller" cgroup "$at" ;;
		*) mount -t cgroup -o "$controller" cgroup "$at" ;;
		esac
	done
fi

ip link set lo up
ip link add eth0 type veth peer name router
ip addr add 10.99.0.2/24 dev eth0
ip link set eth0 up
ip link set router up
ip route add default via 10.99.0.1

# Nomad's environment has nothing of ours.
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root NO_COLOR=1 \
	chroot "$root" "$program"
