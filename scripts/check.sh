#!/bin/sh
# What must hold for every change: format, vet, staticcheck, and the tests
# that need neither root nor Nomad.
set -eu
cd "$(dirname "$0")/.."

step() {
	echo "check: $*"
}

step gofmt
unformatted=$(gofmt -l $(find . -name '*.go' -not -path './bin/*'))
if [ -n "$unformatted" ]; then
	echo "gofmt changes: $unformatted" >&2
	exit 1
fi

step imports
ungrouped=$("$GOIMPORTS" -local github.com/nomad-sidecar/nomad-sidecar -l $(find . -name '*.go' -not -path './bin/*'))
if [ -n "$ungrouped" ]; then
	echo "goimports -local github.com/nomad-sidecar/nomad-sidecar changes: $ungrouped" >&2
	exit 1
fi

step spelling
"$MISSPELL" -error -i cancelled,cancelling $(find . \( -name '*.go' -o -name '*.md' -o -name '*.sh' -o -name '*.hcl' \) -not -path './bin/*')

step replace
for mod in go.mod tools/go.mod; do
	if grep -Eq '^[[:space:]]*replace([[:space:]]|$)' $mod; then
		echo "$mod has a replace: go install would not honour it" >&2
		exit 1
	fi
done

step go vet
go vet -tags "$TAGS" ./...

step staticcheck
"$STATICCHECK" -tags "$TAGS" ./...

# Single tests that need root skip themselves without it; these packages have
# nothing else.
step tests
scripts/test.sh "$TAGS" $(go list -tags "$TAGS" ./... | grep -Ev '/test/(driver|pod|e2e|internal/agent)$')
