#!/bin/sh
# Builds programs into bin/: build.sh VERSION TAGS PROGRAM... An empty version
# leaves the one in the source.
set -eu
cd "$(dirname "$0")/.."

version=$1 tags=$2
shift 2

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

# Nomad refuses a plugin with a version that is not semantic, so a commit's hash
# alone will not do.
stamp=
case $version in
v[0-9]*.[0-9]*.[0-9]*)
	module=$(go list -m)
	stamp="-X $module/driver.Version=${version#v} -X main.version=${version#v}"
	;;
esac

mkdir -p bin
for program; do
	source=$(source_of "$program")
	echo "build bin/$program"
	go build -trimpath -tags "$tags" -ldflags "-s -w $stamp" -o "bin/$program" "$source"
done
