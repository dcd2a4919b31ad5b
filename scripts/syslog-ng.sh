#!/bin/sh
# Extracts Debian's syslog-ng into bin/syslog-ng, for a test. It is not
# installed: it would replace the host's rsyslog and start a service.
set -eu
cd "$(dirname "$0")/.."

target=$PWD/bin/syslog-ng
[ -x "$target/usr/sbin/syslog-ng" ] && exit 0
if ! command -v apt-get >/dev/null; then
	echo "syslog-ng: this is no Debian; the test of docs/logs.md is skipped" >&2
	exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$work" # apt downloads as another user

# syslog-ng-core and the libraries that are not installed yet
packages() {
	apt-get install --simulate --no-install-recommends syslog-ng-core |
		awk '$1 == "Inst" { print $2 }'
}
cd "$work"
if ! list=$(packages) || [ -z "$list" ]; then
	echo "syslog-ng: apt-get update is needed, or syslog-ng-core is already installed" >&2
	exit 0
fi
apt-get download -q $list >/dev/null 2>&1 || {
	echo "syslog-ng: $list could not be downloaded; the test of docs/logs.md is skipped" >&2
	exit 0
}
for package in *.deb; do
	dpkg-deb --extract "$package" root
done
mkdir -p "${target%/*}"
rm -rf "$target"
mv root "$target"
echo "syslog-ng: extracted" $list
