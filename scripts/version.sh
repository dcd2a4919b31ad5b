#!/bin/sh
# Prints the version of this source, its commit and the time of the commit in Unix
# seconds, a line each. The newest heading of CHANGELOG.md and the tag of the commit
# decide the version:
#
#   0.1.0                        the commit has the tag v0.1.0, and nothing is modified
#   0.1.0-dev+3526f61d0a1b       any other commit before 0.1.0
#   0.1.1-dev+d5b0c2f7e1a4.dirty a modified file, after 0.1.0 was tagged
#
# VERSION, COMMIT and SOURCE_DATE_EPOCH from the environment take precedence. A source
# without a git repository, such as an archive, needs them: otherwise it has the version
# 0.1.0-dev and no commit.
set -eu
cd "$(dirname "$0")/.."

fail() {
	echo "version: $*" >&2
	exit 1
}

heading=$(sed -n 's/^## \[\([0-9]*\.[0-9]*\.[0-9]*\)\] - \(.*\)$/\1 \2/p' CHANGELOG.md | head -n 1)
[ -n "$heading" ] || fail "CHANGELOG.md has no heading such as '## [0.1.0] - unreleased'"
base=${heading%% *} state=${heading#* }

# git of the repository above an unpacked archive would give its own commit.
commit= epoch= dirty= tags=
if [ -e .git ] && head=$(git rev-parse HEAD 2>/dev/null); then
	commit=$head
	epoch=$(git log -1 --format=%ct)
	tags=$(git tag --points-at HEAD --list 'v[0-9]*.[0-9]*.[0-9]*')
	[ -z "$(git status --porcelain --untracked-files=no)" ] || dirty=.dirty
fi
commit=${COMMIT:-$commit}

next_patch() {
	echo "${1%.*}.$((${1##*.} + 1))"
}

development() {
	if [ "$state" != unreleased ] && [ -e .git ] && [ -n "$(git tag --list "v$base")" ]; then
		base=$(next_patch "$base")
	fi
	build=
	[ -z "$commit" ] || build=+$(echo "$commit" | cut -c1-12)$dirty
	echo "$base-dev$build"
}

version=${VERSION:-}
version=${version#v}
if [ -z "$version" ]; then
	if [ -z "$tags" ] || [ -n "$dirty" ]; then
		version=$(development)
	elif ! echo "$tags" | grep -qx "v$base"; then
		fail "the commit has the tag" $tags "and the newest heading of CHANGELOG.md is $base; move the tag, or add the heading"
	elif [ "$state" = unreleased ]; then
		fail "the commit has the tag v$base and CHANGELOG.md says that $base is unreleased; set its date, and move the tag"
	else
		version=$base
	fi
fi

echo "$version"
echo "$commit"
echo "${SOURCE_DATE_EPOCH:-$epoch}"
