#!/bin/sh
# Builds programs: build.sh TAGS PROGRAM... They are the same bytes for the same source,
# Go, tags, version and commit, in any directory and with any history of git.
#
# From the environment:
#   OUT                                 directory of the programs, bin
#   GOOS, GOARCH                        as for go build
#   VERSION, COMMIT, SOURCE_DATE_EPOCH  see version.sh
set -eu
cd "$(dirname "$0")/.."

tags=$1
shift

source_of() {
	case $1 in
	nomad-driver-pod) echo ./plugin ;;
	nomad-sidecar) echo ./templater/cmd/nomad-sidecar ;;
	webapp) echo ./jobs/examples/app ;;
	*)
		if [ ! -f "jobs/sidecars/$1/main.go" ]; then
			echo "build.sh: no program is called $1" >&2
			exit 2
		fi
		echo "./jobs/sidecars/$1"
		;;
	esac
}

facts=$(scripts/version.sh)
version=$(echo "$facts" | sed -n 1p) commit=$(echo "$facts" | sed -n 2p)
module=$(go list -m)
stamp="-X $module/driver.Version=$version -X $module/driver.Commit=$commit -X main.version=$version -X main.commit=$commit"

out=${OUT:-bin}
suffix=$(go env GOEXE)
mkdir -p "$out"
for program; do
	source=$(source_of "$program")
	echo "build $out/$program$suffix"
	# Go's own stamp of the version depends on the tags that a clone has fetched.
	go build -trimpath -buildvcs=false -tags "$tags" -ldflags "-s -w -buildid= $stamp" -o "$out/$program$suffix" "$source"
done
