#!/bin/sh
# Builds what a release consists of into a directory: packages.sh TAGS OUT. The same source,
# Go, VERSION, COMMIT and SOURCE_DATE_EPOCH give the same bytes, on any machine.
#
#   nomad-driver-pod_VERSION_linux_ARCH.{tar.gz,deb,rpm}
#   nomad-sidecar_VERSION_OS_ARCH.{tar.gz,zip,deb,rpm}
#   NAME_VERSION_OS_ARCH.cdx.json      what the programs of these are made of, in CycloneDX
#   NAME_VERSION.oci.tar               an image of each sidecar's program, and of nomad-sidecar
#   nomad-sidecar_VERSION_checksums.txt
#
# From the environment:
#   PLATFORMS  of the programs, instead of all
#   TOOLS      directory of nfpm and cyclonedx-gomod, bin/tools
#   VERSION, COMMIT, SOURCE_DATE_EPOCH  see version.sh
set -eu
cd "$(dirname "$0")/.."
export LC_ALL=C TZ=UTC
umask 022

tags=$1 out=$2
tools=${TOOLS:-bin/tools}
sidecars=$(cd jobs/sidecars && ls -d */main.go | sed 's,/main.go,,')
all="linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64"

for program in jq tar gzip zip sha256sum; do
	command -v $program >/dev/null || {
		echo "packages: needs $program: run scripts/deps.sh zip" >&2
		exit 1
	}
done

facts=$(scripts/version.sh)
VERSION=$(echo "$facts" | sed -n 1p) COMMIT=$(echo "$facts" | sed -n 2p) SOURCE_DATE_EPOCH=$(echo "$facts" | sed -n 3p)
export VERSION COMMIT SOURCE_DATE_EPOCH
[ -n "$COMMIT" ] && [ -n "$SOURCE_DATE_EPOCH" ] || {
	echo "packages: this is no git repository: set VERSION, COMMIT and SOURCE_DATE_EPOCH" >&2
	exit 1
}

rm -rf "$out"
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# same_times gives all files below a directory the time of the commit.
same_times() {
	find "$1" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
}

# archive NAME OS: a .tar.gz of $work/NAME, or a .zip for Windows.
archive() {
	chmod -R u=rwX,go=rX "$work/$1" # whatever umask the source was checked out with
	same_times "$work/$1"
	if [ "$2" = windows ]; then
		file=$PWD/$out/$1.zip
		(cd "$work" && find "$1" | sort | zip -q -X -9 "$file" -@)
	else
		tar --create --directory "$work" --sort=name --format=ustar --mtime="@$SOURCE_DATE_EPOCH" \
			--owner=0 --group=0 --numeric-owner "$1" | gzip -9 -n >"$out/$1.tar.gz"
	fi
	echo "packages: $1"
}

# licenses PROGRAM...: the licenses of all modules in the programs.
licenses() {
	echo "The programs contain these Go modules, under the licenses below."
	go version -m "$@" | awk '$1 == "dep" { d = $2 "@" $3 } $1 == "=>" { d = $2 "@" $3 } $1 ~ /^(dep|=>)$/ { print d }' |
		sort -u | while read -r module; do
		dir=$(go mod download -json "$module" | jq -r .Dir)
		for file in $(cd "$dir" && ls | grep -i -E '^(licen[cs]e|copying|notice|patents|unlicense)'); do
			printf '\n%s\n%s: %s\n\n' "----------------------------------------" "$module" "$file"
			cat "$dir/$file"
		done
	done
}

# sbom PACKAGE PROGRAM...: one document for the programs of a package.
sbom() {
	package=$1
	shift
	rm -rf "$work/sbom"
	mkdir "$work/sbom"
	for program; do
		GOPROXY=off "$tools/cyclonedx-gomod" bin -json -std -licenses -noserial -notimestamp -version "v$VERSION" \
			-output "$work/sbom/$(basename "$program").json" "$program" 2>"$work/sbom.log" || {
			cat "$work/sbom.log" >&2
			exit 1
		}
	done
	jq -S -s --arg name "$package" --arg version "$VERSION" -f packaging/sbom.jq "$work"/sbom/*.json
}

# documents PACKAGE PLATFORM PROGRAM...: what each archive and package holds beside programs.
documents() {
	package=$1 name=${1}_${VERSION}_$(echo "$2" | tr / _)
	shift 2
	rm -rf "$work/doc"
	mkdir -p "$work/doc"
	sbom "$package" "$@" >"$out/$name.cdx.json"
	cp "$out/$name.cdx.json" "$work/doc/sbom.cdx.json"
	licenses "$@" >"$work/doc/third-party-licenses.txt"
	cp CHANGELOG.md LICENSE "$work/doc"
}

# package CONFIG ARCH: the .deb and .rpm.
package() {
	cp packaging/copyright "$work/doc/copyright"
	mv "$work/doc/CHANGELOG.md" "$work/doc/changelog"
	gzip -9 -n "$work/doc/changelog" "$work/doc/third-party-licenses.txt"
	rm "$work/doc/LICENSE" # copyright refers to it
	same_times "$work"
	for format in deb rpm; do
		[ $format = deb ] || cp LICENSE "$work/doc"
		BIN=$work/bin/linux_$2 STAGE=$work ARCH=$2 "$tools/nfpm" package --packager $format \
			--config "packaging/$1/nfpm.yaml" --target "$out/${1}_${VERSION}_linux_$2.$format" >"$work/nfpm.log" 2>&1 || {
			cat "$work/nfpm.log" >&2
			exit 1
		}
	done
	echo "packages: ${1}_${VERSION}_linux_$2.deb and .rpm"
}

driver() {
	arch=$1 bin=$work/bin/linux_$1 name=nomad-driver-pod_${VERSION}_linux_$1
	programs=$bin/nomad-driver-pod
	rm -rf "$work/sidecars"
	mkdir -p "$work/$name/sidecars" "$work/sidecars"
	for program in $sidecars webapp; do
		programs="$programs $bin/$program"
		cp "$bin/$program" "$work/$name/sidecars"
		cp "$bin/$program" "$work/sidecars"
	done
	documents nomad-driver-pod "linux/$arch" $programs
	cp "$bin/nomad-driver-pod" "$work/doc/"* driver/README.md "$work"/man8/* packaging/nomad-driver-pod/pod.hcl \
		jobs/examples/web.nomad.hcl "$work/$name"
	archive "$name" linux
	package nomad-driver-pod "$arch"
}

templater() {
	os=${1%/*} arch=${1#*/} bin=$work/bin/$(echo "$1" | tr / _) name=nomad-sidecar_${VERSION}_$(echo "$1" | tr / _)
	program=$bin/nomad-sidecar
	[ "$os" != windows ] || program=$program.exe
	documents nomad-sidecar "$1" "$program"
	mkdir -p "$work/$name"
	cp -r "$program" "$work/doc/"* "$work/completions" templater/README.md "$work/$name"
	[ "$os" = windows ] || cp -r "$work/man" "$work/$name"
	[ "$os" != linux ] || cp jobs/serve/nomad-sidecar.service packaging/nomad-sidecar/serve.env "$work/$name"
	archive "$name" "$os"
	[ "$os" != linux ] || package nomad-sidecar "$arch"
}

# texts makes the manual pages and completion scripts.
texts() {
	go run -tags "$tags" ./templater/cmd/manual -out "$work/man" -version "$VERSION" -date "$SOURCE_DATE_EPOCH"
	mkdir "$work/man8"
	go run -tags "$tags" ./plugin/manual -version "$VERSION" -date "$SOURCE_DATE_EPOCH" >"$work/man8/nomad-driver-pod.8"
	gzip -9 -n "$work"/man/* "$work"/man8/*
	mkdir "$work/completions"
	for shell in bash fish powershell zsh; do
		go run -tags "$tags" ./templater/cmd/nomad-sidecar completion $shell >"$work/completions/$shell"
	done
}

texts
images=
for platform in ${PLATFORMS:-$all}; do
	programs=nomad-sidecar
	[ "${platform%/*}" != linux ] || programs="$programs nomad-driver-pod webapp $sidecars"
	bin=$work/bin/$(echo "$platform" | tr / _)
	OUT=$bin GOOS=${platform%/*} GOARCH=${platform#*/} CGO_ENABLED=0 scripts/build.sh "$tags" $programs
	templater "$platform"
	if [ "${platform%/*}" = linux ]; then
		driver "${platform#*/}"
		images="$images -bin $bin"
	fi
done
[ -z "$images" ] || go run -tags "$tags" ./jobs/images $images -archives "$out" -nomad-sidecar "$VERSION" $sidecars

(cd "$out" && sha256sum -- * >"$work/checksums" && mv "$work/checksums" "nomad-sidecar_${VERSION}_checksums.txt")
echo "packages: $(ls "$out" | wc -l) files in $out"
