#!/bin/sh
# Runs the web example on a machine with the packages and Nomad, then removes the packages.
# test-packages.sh copies it there.
set -eu

say() { echo "test-packages: $*"; }
fail() {
	echo "test-packages: $*" >&2
	[ ! -e /tmp/agent.log ] || tail -n 30 /tmp/agent.log >&2
	exit 1
}

# eventually COMMAND...: repeat it until it succeeds.
eventually() {
	deadline=$(($(date +%s) + 180))
	until "$@" >/tmp/eventually 2>&1; do
		kill -0 $agent || fail "Nomad has ended"
		[ "$(date +%s)" -lt $deadline ] || fail "$* did not succeed: $(tail -n 5 /tmp/eventually)"
		sleep 1
	done
}

# jq succeeds without input, so its input is a file.
healthy() {
	nomad node status -self -json >/tmp/node && jq -e '.Drivers.pod.Healthy' /tmp/node
}

running() {
	nomad job allocs -json web >/tmp/allocs && jq -e '.[0].ClientStatus == "running"' /tmp/allocs
}

# page is the application through the sidecar that terminates TLS.
page() {
	id=$(jq -r '.[0].ID' /tmp/allocs)
	port=$(nomad alloc status -json "$id" | jq -r '.AllocatedResources.Shared.Ports[] | select(.Label == "https") | "\(.HostIP):\(.Value)"')
	curl --fail --silent --show-error --insecure --max-time 5 "https://$port/"
}

# --- What was installed.

for link in /etc/systemd/system/*.wants/nomad-sidecar.service; do
	[ ! -e "$link" ] || fail "the package enabled its service: $link"
done
getent passwd nomad-sidecar >/dev/null || fail "the package created no user"
dpkg-query -W -f '${Conffiles}\n' nomad-sidecar | grep -q ' /etc/nomad-sidecar/serve.env ' || fail "serve.env is no conffile"
gzip -dc /usr/share/man/man1/nomad-sidecar-inject.1.gz | man -l - | grep -q 'nomad-sidecar inject' || fail "no manual page"
bash -c '. /usr/share/bash-completion/completions/nomad-sidecar; COMP_LINE="nomad-sidecar inj" COMP_POINT=17; _nomad_sidecar 2>/dev/null; [ "$COMPREPLY" = inject ]' ||
	fail "no completion"
version=$(nomad-sidecar version | sed -n 's/^nomad-sidecar //p')
commit=$(nomad-sidecar version | sed -n 's/^commit //p')
[ -n "$version" ] && [ -n "$commit" ] || fail "nomad-sidecar version: $(nomad-sidecar version)"
say "nomad-sidecar $version, commit $commit"

# --- The example.

cat /usr/share/doc/nomad-driver-pod/examples/pod.hcl >>/etc/nomad.d/nomad.hcl
nomad agent -config /etc/nomad.d >/tmp/agent.log 2>&1 &
agent=$!
eventually healthy
for want in "driver.pod.version $version" "driver.pod.commit $commit"; do
	got=$(jq -r --arg key "${want% *}" '.Attributes[$key]' /tmp/node)
	[ "$got" = "${want#* }" ] || fail "the fingerprint has ${want% *} $got"
done
say "the driver is healthy: $(jq -r '.Attributes | "\(."driver.pod.version"), \(."driver.pod.runtime") \(."driver.pod.runtime.version")"' /tmp/node)"

nomad-sidecar inject /packages/web.nomad.hcl >/tmp/web.nomad.hcl
nomad job run -detach /tmp/web.nomad.hcl >/tmp/run 2>&1 || fail "$(cat /tmp/run)"
eventually running
eventually page
grep -q -i webapp /tmp/eventually || fail "the page is $(head -c 300 /tmp/eventually)"
say "the example answers by HTTPS"
nomad job stop -purge -detach web >/dev/null
nomad system gc
gone() { ! pgrep -x 'webapp|topz|conmon'; }
command -v pgrep >/dev/null && eventually gone
kill -INT $agent
wait $agent || :

# --- Removal.

dpkg --purge nomad-driver-pod nomad-sidecar >/tmp/purge 2>&1 || fail "$(cat /tmp/purge)"
for path in /usr/lib/nomad /opt/nomad-sidecar /etc/nomad-sidecar /etc/apparmor.d/nomad-sidecar-serve /usr/share/doc/nomad-sidecar /usr/bin/nomad-sidecar; do
	[ ! -e $path ] || fail "$path is left after purge"
done
say "purge leaves nothing"
