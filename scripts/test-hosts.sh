#!/bin/sh
# Runs the driver's tests that need another kernel on Debian hosts under qemu:
# test-hosts.sh TAGS [SUITE...]
#
# A host is booted by software emulation, so that neither KVM nor an image of a
# disk is needed, with systemd, cgroup v2, AppArmor, and the runtimes of its
# release. It has no network. A host takes two to five minutes.
#
# From the environment:
#   HOSTS   directory that keeps the roots between runs, bin/hosts
#   RUN     run only these tests, as "go test -run" takes it, ^TestAppArmor_
#   MEMORY  of a host in MiB, 2048
#   LIMIT   in seconds, 900: then the host is killed
set -eu
cd "$(dirname "$0")/.."

tags=$1
shift
[ $# -gt 0 ] || set -- bookworm
mkdir -p "${HOSTS:=bin/hosts}"
HOSTS=$(cd "$HOSTS" && pwd)

for program in debootstrap qemu-system-x86_64 mke2fs; do
	command -v $program >/dev/null || {
		echo "hosts: needs $program: install debootstrap, qemu-system-x86 and e2fsprogs" >&2
		exit 1
	}
done
[ "$(id -u)" = 0 ] || {
	echo "hosts: needs root, to make the file systems" >&2
	exit 1
}

packages=systemd,systemd-sysv,dbus,linux-image-cloud-amd64,apparmor,crun,runc,conmon,catatonit,procps

make_root() {
	[ ! -e "$1/.ready" ] || return 0
	rm -rf "$1"
	echo "hosts: making $1"
	debootstrap --variant=minbase --include=$packages "$2" "$1" >"$1.log" 2>&1
	touch "$1/.ready"
}

# install_tests puts the tests in a root, and has systemd run them at boot.
install_tests() {
	cp "$HOSTS/driver.test" "$1/root/driver.test"
	cat >"$1/root/run" <<-END
		#!/bin/sh
		exec >/dev/ttyS1 2>&1
		cd /root
		POD_TEST_PATIENCE=10 ./driver.test -test.v -test.timeout 14m -test.run '${RUN:-^TestAppArmor_}'
		echo "exit code \$?"
		systemctl poweroff
	END
	chmod 755 "$1/root/run"
	cat >"$1/etc/systemd/system/tests.service" <<-END
		[Unit]
		After=multi-user.target
		[Service]
		Type=oneshot
		TimeoutStartSec=0
		ExecStart=/root/run
	END
	mkdir -p "$1/etc/systemd/system/multi-user.target.wants"
	ln -sf ../tests.service "$1/etc/systemd/system/multi-user.target.wants/tests.service"
}

# boot runs a host until it powers itself off. Its log is SUITE.out.
boot() {
	rm -f "$1.img" "$1.out"
	truncate -s 4G "$1.img"
	mke2fs -q -t ext4 -d "$1" "$1.img"
	timeout "${LIMIT:-900}" qemu-system-x86_64 -accel tcg,thread=multi -smp 2 -m "${MEMORY:-2048}" -no-reboot \
		-display none -monitor none -nic none -serial null -serial "file:$1.out" \
		-kernel "$1"/boot/vmlinuz-* -initrd "$1"/boot/initrd.img-* \
		-append "root=/dev/vda rw quiet apparmor=1 security=apparmor" \
		-drive "file=$1.img,format=raw,if=virtio" </dev/null || echo "hosts: qemu ended with $?"
	rm -f "$1.img"
}

CGO_ENABLED=0 go test -c -tags "$tags" -o "$HOSTS/driver.test" ./test/driver
bad=0
for suite; do
	root=$HOSTS/$suite
	make_root "$root" "$suite"
	install_tests "$root"
	boot "$root"
	tr -d '\r' <"$root.out" | grep -a -e '^ *--- ' -e "_test.go:" -e '^exit code' || :
	grep -a -q '^exit code 0' "$root.out" && ! grep -a -q '^ *--- SKIP' "$root.out" || bad=1
done
exit $bad
