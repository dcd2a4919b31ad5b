#!/bin/sh
set -e

case $1 in
remove | purge | 0)
	[ ! -d /run/systemd/system ] || systemctl daemon-reload
	;;
esac
