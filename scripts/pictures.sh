#!/bin/sh
# Takes the pictures of topz's README anew, by its test: pictures.sh TAGS
set -eu
cd "$(dirname "$0")/.."

taken=$(mktemp -d)
trap 'rm -rf "$taken"' EXIT
TEST_PICTURES=$taken go test -count=1 -tags "$1" -run 'TestLooks$' ./jobs/sidecars/topz

kept=jobs/sidecars/topz/pictures
mkdir -p "$kept"
cp "$taken/topz-light.png" "$kept/light.png"
cp "$taken/topz-dark.png" "$kept/dark.png"
cp "$taken/topz-phone-dark.png" "$kept/phone.png"
