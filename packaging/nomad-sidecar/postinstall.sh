#!/bin/sh
# Creates the user of the admission proxy, and restarts the proxy if it runs.
set -e

if ! getent passwd nomad-sidecar >/dev/null; then
	useradd --system --user-group --no-create-home --home-dir /nonexistent \
		--shell /usr/sbin/nologin --comment "Admission proxy of Nomad" nomad-sidecar
fi

profile=/etc/apparmor.d/nomad-sidecar-serve
if [ -f $profile ] && command -v aa-enabled >/dev/null && aa-enabled --quiet; then
	apparmor_parser --replace --write-cache $profile || echo "nomad-sidecar: AppArmor did not load $profile" >&2
fi

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	systemctl try-restart nomad-sidecar.service
fi
