#!/usr/bin/env bash
# Unpacks packages of the machine's own distribution (Debian or Ubuntu) into a prefix, with apt's own client, without
# root, and without touching the system: apt works on private lists made from the machine's own list of sources.
#
#   get_debian_packages.sh PREFIX PACKAGE>=VERSION...
#
# Of each package the lowest version that is new enough is taken. On Debian 12 the release after it is looked at too:
# its Highway is too old. A package that cannot be had is named; the others are still unpacked.
set -euo pipefail

prefix=$1
shift

. /etc/os-release
release=${VERSION_CODENAME:-none}
newer_release=
[[ $ID == debian && $release == bookworm ]] && newer_release=trixie

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME=$work  # dpkg complains of a home folder that it may not read.
mkdir -p "$work"/{sources,lists/partial,cache/archives/partial,debs}

# Copies the distribution's own entries (never a third party's) for this release to $work/sources, under the name of
# another release where $1 says so. Mirrors are told by how their address ends: …/debian, …/ubuntu.
copy_sources() {
  local to=$1
  local address="/($ID|ubuntu-ports|$ID\\.list|archive/$ID/[0-9TZ]+)/?\$"
  shopt -s nullglob
  local file
  for file in /etc/apt/sources.list.d/*.sources; do
    awk -v RS= -v from="$release" -v to="$to" -v address="$address" '
      {
        own = enabled = 1; has_suite = has_main = 0; out = ""
        count = split($0, lines, "\n")
        for (i = 1; i <= count; ++i) {
          line = lines[i]
          if (line ~ /^#/) continue
          words = split(line, word, /[ \t]+/)
          field = tolower(word[1])
          if (field == "uris:") {
            for (w = 2; w <= words; ++w) if (word[w] != "" && word[w] !~ address) own = 0
          } else if (field == "suites:") {
            for (w = 2; w <= words; ++w) if (word[w] == from) has_suite = 1
            line = "Suites: " to
          } else if (field == "components:") {
            for (w = 2; w <= words; ++w) if (word[w] == "main") has_main = 1
          } else if (field == "types:") {
            if (line !~ /deb([ \t]|$)/) own = 0
            line = "Types: deb"
          } else if (field == "enabled:" && tolower(word[2]) ~ /^(no|false|0)$/) {
            enabled = 0
          }
          out = out line "\n"
        }
        if (own && enabled && has_suite && has_main) print out
      }' "$file" >>"$work/sources/$to.sources"
  done
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [[ -f $file ]] || continue
    awk -v from="$release" -v to="$to" -v address="$address" '
      $1 == "deb" {
        uri = 2
        if ($2 ~ /^\[/) { while ($uri !~ /\]$/) ++uri; ++uri }
        if ($uri !~ address || $(uri + 1) != from || $(uri + 2) != "main") next
        $(uri + 1) = to
        print
      }' "$file" >>"$work/sources/$to.list"
  done
  find "$work/sources" -empty -type f -delete
}

# Runs a command of apt on the private lists.
privately() {
  local command=$1
  shift
  "$command" -qq -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$work/sources" \
    -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o Debug::NoLocking=1 \
    -o Dir::Cache::pkgcache=pkgcache.bin -o Dir::Cache::srcpkgcache=srcpkgcache.bin \
    -o Acquire::Languages=none -o Acquire::Retries=2 -o Acquire::http::Timeout=20 \
    -o APT::Sandbox::User="$(id -un)" "$@"
}

copy_sources "$release"
[[ -n $newer_release ]] && copy_sources "$newer_release"
if [[ -z $(ls -A "$work/sources") ]]; then
  echo "no source of $ID $release among the machine's apt sources" >&2
  exit 1
fi
privately apt-get update || true

# unpack PACKAGE VERSION
unpack() {
  (cd "$work/debs" && privately apt-get download "$1=$2" && dpkg -x "$1"_*.deb "$prefix")
}

mkdir -p "$prefix"
status=0
for wish in "$@"; do
  package=${wish%%>=*}
  minimum=${wish##*>=}
  chosen=
  for version in $(privately apt-cache madison "$package" | awk '{ print $3 }'); do  # The newest comes first.
    if dpkg --compare-versions "$version" ge "$minimum"; then chosen=$version; fi
  done
  if [[ -z $chosen ]] || ! unpack "$package" "$chosen"; then
    echo "$package $minimum or newer could not be had from apt" >&2
    status=1
    continue
  fi
  echo "$package $chosen"
  # Google Benchmark's shared library is a package of its own; Highway's is not needed.
  if [[ $package == libbenchmark-dev ]]; then
    library=$(privately apt-cache show "$package=$chosen" | sed -n 's/^Depends:.*\(libbenchmark[^ ,]*\) (= \([^)]*\)).*/\1 \2/p')
    # shellcheck disable=SC2086 # Two words: the package and its version.
    [[ -n $library ]] && unpack $library
  fi
done
exit $status
