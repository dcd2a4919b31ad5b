#!/bin/sh
# Stops the admission proxy, unless a newer package takes its place. Its user stays, as it
# may own files.
set -e

case $1 in
remove | 0)
	[ ! -d /run/systemd/system ] || systemctl disable --now --quiet nomad-sidecar.service
	;;
esac
