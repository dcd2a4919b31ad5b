#!/bin/sh
# Tests the packages as a user gets them: test-packages.sh TAGS [SUITE]
#
#   - a second build, in another directory, time zone and umask, has the same bytes;
#   - the .rpm lists its files;
#   - the .deb is installed in a fresh Debian with a Nomad as HashiCorp's package configures
#     it, starts nothing, and with the lines of its example the web example runs;
#   - the packages leave nothing behind.
#
# From the environment:
#   NOMAD_BIN  the Nomad, else that of scripts/nomad.sh
#   HOSTS      directory that keeps the Debian between runs, bin/hosts
#   ONCE       not empty: only one build
#   PACKAGES   directory of packages that are built already
set -eu
cd "$(dirname "$0")/.."

tags=$1 suite=${2:-bookworm}
out=${PACKAGES:-bin/test-packages}
arch=$(go env GOARCH)
mkdir -p "${HOSTS:=bin/hosts}"
HOSTS=$(cd "$HOSTS" && pwd)
base=$HOSTS/packages-$suite

say() { echo "test-packages: $*"; }
fail() {
	echo "test-packages: $*" >&2
	exit 1
}

command -v debootstrap >/dev/null || fail "needs debootstrap: install it"
[ "$(id -u)" = 0 ] || fail "needs root, to make a root file system"
nomad=$(scripts/nomad.sh | sed -n 's/^nomad: \(\/.*\|bin\/nomad\)$/\1/p')
[ -x "$nomad" ] || fail "needs a Nomad: run make nomad"

work=$(mktemp -d)
root=$work/root
cgroup=packages-test-$$
clean_up() {
	find /sys/fs/cgroup -depth -type d -path "*/$cgroup*" -exec rmdir {} + 2>/dev/null || :
	umount -R "$root/proc" "$root/sys" "$root/dev" 2>/dev/null || :
	rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

build() {
	PLATFORMS=linux/$arch scripts/packages.sh "$tags" "$out"
	[ -z "${ONCE:-}" ] || return 0
	say "build again, in another directory"
	mkdir "$work/again"
	facts=$(scripts/version.sh)
	(
		umask 077
		git ls-files -z --cached --others --exclude-standard | tar --create --null --files-from - |
			tar --extract --no-same-permissions --directory "$work/again"
		cd "$work/again"
		VERSION=$(echo "$facts" | sed -n 1p) COMMIT=$(echo "$facts" | sed -n 2p) SOURCE_DATE_EPOCH=$(echo "$facts" | sed -n 3p) \
			PLATFORMS=linux/$arch TOOLS=$OLDPWD/bin/tools TZ=Asia/Tokyo scripts/packages.sh "$tags" out >/dev/null
	)
	diff "$out"/*_checksums.txt "$work/again/out/"*_checksums.txt || fail "two builds differ"
	rm -rf "$work/again"
	say "two builds have the same bytes"
}

# list PACKAGE FORMAT: the files of a package.
list() {
	case $2 in
	deb) dpkg-deb --fsys-tarfile "$out/${1}_"*"_linux_$arch.deb" | tar --list | sed 's,^\.,,' ;;
	rpm) rpm -qlp --nosignature "$out/${1}_"*"_linux_$arch.rpm" ;;
	esac
}

contents() {
	for format in deb rpm; do
		command -v rpm >/dev/null || [ $format = deb ] || {
			say "skip the .rpm: rpm is not installed"
			continue
		}
		for file in /usr/lib/nomad/plugins/nomad-driver-pod /opt/nomad-sidecar/bin/webapp /opt/nomad-sidecar/bin/topz \
			/usr/share/man/man8/nomad-driver-pod.8.gz /usr/share/doc/nomad-driver-pod/copyright /usr/share/doc/nomad-driver-pod/examples/pod.hcl; do
			list nomad-driver-pod $format | grep -qx $file || fail "the $format of nomad-driver-pod has no $file"
		done
		for file in /usr/bin/nomad-sidecar /usr/lib/systemd/system/nomad-sidecar.service /etc/nomad-sidecar/serve.env \
			/usr/share/man/man1/nomad-sidecar-inject.1.gz /usr/share/bash-completion/completions/nomad-sidecar \
			/usr/share/doc/nomad-sidecar/sbom.cdx.json; do
			list nomad-sidecar $format | grep -qx $file || fail "the $format of nomad-sidecar has no $file"
		done
		say "the $format packages have their files"
	done
}

make_root() {
	[ -e "$base/.ready" ] || {
		say "make $base"
		rm -rf "$base"
		debootstrap --variant=minbase --include=ca-certificates "$suite" "$base" >"$base.log" 2>&1 || fail "debootstrap: see $base.log"
		touch "$base/.ready"
	}
	cp -a "$base" "$root"
	cp /etc/resolv.conf "$root/etc/"
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod 755 "$root/usr/sbin/policy-rc.d"
	install -m 755 "$nomad" "$root/usr/bin/nomad"
	mkdir -p "$root/etc/nomad.d" "$root/opt/nomad/data" "$root/packages"
	cat >"$root/etc/nomad.d/nomad.hcl" <<-END
		data_dir  = "/opt/nomad/data"
		bind_addr = "0.0.0.0"

		server {
		  enabled          = true
		  bootstrap_expect = 1
		}

		client {
		  enabled = true
		  servers = ["127.0.0.1"]
		}
	END
	cp "$out"/*_linux_"$arch".deb "$root/packages"
	cp jobs/examples/web.nomad.hcl "$root/packages"
	install -m 755 scripts/test-packages-inside.sh "$root/packages/test"
}

install_packages() {
	mount -t proc proc "$root/proc"
	mount --bind /dev "$root/dev"
	chroot "$root" apt-get update -q >"$work/apt.log" 2>&1 || fail "$(tail -n 20 "$work/apt.log")"
	# nginx and openssl are what tls-proxy runs without an image.
	chroot "$root" env DEBIAN_FRONTEND=noninteractive sh -c \
		'apt-get install -q -y --no-install-recommends iproute2 curl jq nginx-light openssl man-db && apt-get install -q -y --no-install-recommends /packages/*.deb' \
		>"$work/apt.log" 2>&1 </dev/null || fail "$(tail -n 20 "$work/apt.log")"
	umount "$root/dev" "$root/proc"
	say "installed $(chroot "$root" dpkg-query -W -f '${Package} ${Version} ' nomad-driver-pod nomad-sidecar)"
}

# run_example runs the example on a machine of its own: namespaces, cgroups, and a network
# with one interface.
run_example() {
	timeout 900 unshare --mount --net --pid --ipc --uts --fork --kill-child \
		scripts/test-packages-machine.sh "$root" "$cgroup" /packages/test || fail "the example failed"
}

[ -n "${PACKAGES:-}" ] || build
contents
make_root
install_packages
run_example
say "passed"
