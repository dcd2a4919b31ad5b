#!/bin/sh
# Prints the newest section of CHANGELOG.md, without its heading.
set -eu
cd "$(dirname "$0")/.."
awk '/^## \[/ { if (found++) exit; next } found' CHANGELOG.md
