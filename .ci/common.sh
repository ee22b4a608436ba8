# What ./quickstart and ./check share.  Sourced by bash, from the top of the tree.
set -euo pipefail

say () { printf '%s\n' "$*"; }
die () { printf '%s\n' "$*" >&2; exit 1; }

# The names of Debian packages to build with, and to run GIMP's own part of the tests with.
build_packages () {
  say gcc libc6-dev meson ninja-build pkgconf gettext python3 libglib2.0-dev libjson-glib-dev libopenblas-dev libdnnl-dev \
    libgegl-dev libpng-dev libjpeg-dev libtiff-dev libwebp-dev libcairo2-dev gimp "$(gimp_package)"
}
test_packages () {
  say strace valgrind xvfb xauth xdotool fonts-dejavu-core imagemagick gtk2-engines-pixbuf locales appstream python3-numpy python3-pil
}

# GIMP's headers have another name in each of its major versions; a release of Debian has one of them.
gimp_package () {
  if apt-cache show libgimp-3.0-dev >/dev/null 2>&1; then say libgimp-3.0-dev; else say libgimp2.0-dev; fi
}

can_be_root () { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; }
as_root () {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Of a package for several architectures each has its line.
is_installed () { dpkg-query -W -f='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed; }

# Installs those of the packages that are missing, if any.
install_packages () {
  local missing=() package
  command -v apt-get >/dev/null || die "This sets itself up on Debian and its relatives; elsewhere install by hand: $*"
  for package in "$@"; do is_installed "$package" || missing+=("$package"); done
  [ ${#missing[@]} = 0 ] && return
  # Not "run this as root": the folders that are built in would belong to root then, and the next run could not write to them.
  can_be_root || die "Packages are missing, and installing them needs root: as root run 'apt-get install --no-install-recommends ${missing[*]}', or install sudo."
  say "Installing ${#missing[@]} packages: ${missing[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}" >/dev/null ||
    die "apt-get could not install them: is the network there?  Run 'apt-get update' and try again."
}

# A fresh machine has no package lists; without them nothing is known of any package.
update_package_lists () {
  command -v apt-get >/dev/null || return 0
  compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null && return
  can_be_root || die "There are no lists of packages, and getting them needs root: as root run 'apt-get update', or install sudo."
  as_root apt-get update >/dev/null || die "apt-get update failed: is the network there?"
}

# Sets a build folder up with these options, also when it exists with others, and builds.
build () {
  local folder=$1; shift
  if [ -e "$folder/build.ninja" ]; then meson setup --reconfigure "$folder" "$@" >"$folder.log" 2>&1
  else meson setup "$folder" "$@" >"$folder.log" 2>&1
  fi || { tail -n 20 "$folder.log" >&2; die "meson could not set up the build; the whole log is $folder.log."; }
  ninja -C "$folder" >>"$folder.log" 2>&1 || { tail -n 40 "$folder.log" >&2; die "The build failed; the whole log is $folder.log."; }
}

# run_tests FOLDER [OPTION...]: runs the tests of a build, or those that meson test's options name, and counts the cases; the last line is the sum.
run_tests () {
  local folder=$1 status=0; shift
  # The tests' own models folder: the tree's.
  DIFFUSION_MODELS=$PWD/models meson test -C "$folder" --no-rebuild --print-errorlogs "$@" >"$folder/check.log" 2>&1 || status=$?
  python3 tests/count.py "$folder/meson-logs/testlog.json" "$status"
}

# make_screenshots FOLDER MAJOR VERSION: pictures of the dialogs, in screenshots/.
make_screenshots () {
  mkdir -p "screenshots/$3"
  python3 tests/gimp/screenshots.py "$1" "screenshots/$3" "$2"
}
