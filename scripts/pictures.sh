#!/bin/sh
# Takes the pictures of topz, of the admission proxy's page and of the catalog's
# site anew, by their tests: pictures.sh TAGS
set -eu
cd "$(dirname "$0")/.."

taken=$(mktemp -d)
trap 'rm -rf "$taken"' EXIT
TEST_PICTURES=$taken go test -count=1 -tags "$1" -run 'TestLooks$' ./jobs/sidecars/topz ./templater/adminpage ./templater/sidecardoc

kept=jobs/sidecars/topz/pictures
mkdir -p "$kept"
cp "$taken/topz-light.png" "$kept/light.png"
cp "$taken/topz-dark.png" "$kept/dark.png"
cp "$taken/topz-phone-dark.png" "$kept/phone.png"

kept=docs/pictures
mkdir -p "$kept"
for scheme in light dark; do
	cp "$taken/admin-fleet-wide-$scheme.png" "$kept/admin-$scheme.png"
	cp "$taken/admin-job-wide-$scheme.png" "$kept/admin-job-$scheme.png"
	cp "$taken/site-_ambassador-$scheme-1280.png" "$kept/site-$scheme.png"
done
