#!/usr/bin/env bash
# For each architecture, builds static binaries of the extension and its wrapper, and one Lambda layer:
#
#   target/layer/{x86_64,arm64}/{thundra-lambda-extension,thundra_wrapper}
#   target/layer/{x86_64,arm64}/thundra-lambda-extension.symbols    the same extension with its symbols
#   target/layer/thundra-lambda-extension-{x86_64,arm64}.zip    with the files that layer.zip.spec lists
#
# Usage: ./build.sh [--with-qemu] [--comparators | --layout] [x86_64 | arm64]
#   --comparators builds the programs of the benchmark instead of the layers, in the same way:
#                 target/comparators/{x86_64,arm64}/{floor,bare,async}, for
#                 local-lambda bench --comparators target/comparators/x86_64 …
#   --layout      writes tests/layout/functions.ld, the order of functions in the binaries, from a run on this
#                 machine (see tests/layout/layout.py). A renamed function loses its place, and
#                 tests/package.py fails once 5 % of them have. It needs valgrind.
#   --with-qemu   also installs qemu-user-static from Debian, to run the arm64 binary on x86_64:
#                 qemu-aarch64-static target/layer/arm64/thundra-lambda-extension
#
# Two builds with the same toolchain give the same bytes, in any directory. The script installs missing
# tools if it can (rustup's rust-src; Debian packages, as root), and names them if it cannot. It writes
# all other files to target/.
set -euo pipefail
export LC_ALL=C # readelf's output and the order of names must not depend on the user's language
umask 022       # Lambda does not run extensions as root, so other users must be able to read and execute them

readonly NAME=thundra-lambda-extension WRAPPER=thundra_wrapper
readonly SIZE_BUDGET=1825000 # bytes of each extension. Lambda reads them at each cold start: docs/performance.md
readonly WRAPPER_BUDGET=400000 # bytes of each wrapper
readonly ZIGLANG=0.15.2
readonly CARGO_ZIGBUILD=0.24.0

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
cd "$root"
readonly root layer=$root/target/layer venv=$root/target/zig cache=$root/target/static
readonly functions=tests/layout/functions.ld

say() { printf '%s\n' "build.sh: $*"; }
die() { printf 'build.sh: %s\n' "$@" >&2; exit 1; }

# --- Tools of the machine ---------------------------------------------------------------

can_apt() { [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; }

# --no-remove: without it, rustc-web would replace an installed rustc.
apt_install() {
  say "installing Debian packages: $*"
  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-remove \
    --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" >/dev/null
}

# Host tools: cc links build scripts, python3 carries zig and writes the zip, readelf checks.
ensure_tools() {
  local packages=() missing=()
  command -v cc >/dev/null || { packages+=(gcc libc6-dev); missing+=("cc (a C compiler with libc headers)"); }
  command -v readelf >/dev/null || { packages+=(binutils); missing+=("readelf (of binutils)"); }
  python3 -c 'import ensurepip, venv, zlib' 2>/dev/null ||
    { packages+=(python3 python3-venv); missing+=("python3 with its venv module"); }
  if ((with_qemu)) && ! command -v qemu-aarch64-static >/dev/null; then
    packages+=(qemu-user-static); missing+=("qemu-aarch64-static (of qemu-user-static)")
  fi
  ((${#packages[@]})) || return 0
  can_apt || die "these are missing, please install them:" "${missing[@]/#/  }" \
    "On Debian, as root: apt-get install ${packages[*]}"
  apt_install "${packages[@]}" || die "could not install: ${packages[*]}"
}

# --- The Rust toolchain ---------------------------------------------------------------------
# std is built together with the program, from the compiler's own source, for two reasons. Not every
# toolchain has a musl target, and the std of rustup contains its backtrace printer, 280 kB that would
# break the budget. Compiler and source must have one version, because std uses features that only its
# own compiler has. So the script takes a source only from below the compiler's root. It never mixes
# Debian's source with rustup's compiler.

# usable_toolchain SYSROOT: succeeds if it has a cargo, a rustc that is new enough, and std's source.
usable_toolchain() {
  local wanted version source
  [[ $1 && -x $1/bin/cargo && -x $1/bin/rustc && -e $1/lib/rustlib/src/rust/library/std/Cargo.toml ]] || return 1
  wanted=$(sed -n 's/^rust-version = "\([0-9.]*\)".*/\1/p' Cargo.toml)
  version=$("$1/bin/rustc" -vV | sed -n 's/^release: //p')
  source=$(readlink -f "$1/lib/rustlib/src/rust")
  [[ $(printf '%s\n' "$wanted" "$version" | sort -V | head -n 1) == "$wanted" ]] &&
    [[ $source != /usr/src/* || $source == */rustc-"$version" ]]
}

# Sets `sysroot`. Existing toolchains come first, so that a later build takes the same one.
find_toolchain() {
  local own=
  if command -v rustc >/dev/null; then own=$(rustc --print sysroot) || own=; fi
  for sysroot in "$own" /usr; do
    if usable_toolchain "$sysroot"; then return; fi
  done
  if command -v rustup >/dev/null; then
    say "adding rust-src, the source of std, to rustup's toolchain"
    sysroot=$own
    if rustup component add rust-src && usable_toolchain "$sysroot"; then return; fi
    say "rustup has no rust-src for a toolchain that can build this"
  fi
  sysroot=/usr
  if can_apt && apt_install rustc-web cargo-web rust-web-src ca-certificates &&
    usable_toolchain "$sysroot"; then return; fi
  die "no Rust toolchain with the source of its std was found. Either of these gives one:" \
    "  rustup component add rust-src" \
    "  apt-get install rustc-web cargo-web rust-web-src   (Debian, as root)"
}

# zig is linker, C compiler (for ring) and musl libc for both architectures in one package.
ensure_zig() {
  if [[ $("$venv/bin/python" -m ziglang version 2>/dev/null) != "$ZIGLANG" ||
    $("$venv/bin/cargo-zigbuild" --version 2>/dev/null) != *" $CARGO_ZIGBUILD" ]]; then
    say "installing ziglang $ZIGLANG and cargo-zigbuild $CARGO_ZIGBUILD from PyPI into target/"
    python3 -m venv --clear "$venv"
    "$venv/bin/python" -m pip --quiet --disable-pip-version-check --no-cache-dir install \
      "ziglang==$ZIGLANG" "cargo-zigbuild==$CARGO_ZIGBUILD" ||
      die "could not install ziglang==$ZIGLANG and cargo-zigbuild==$CARGO_ZIGBUILD with pip"
  fi
}

# Writes $venv/bin/linking-twice, which runs zig. It links each program with a linker script a second time, into
# PROGRAM.symbols, without stripping it: tests/layout needs the names of the functions. That takes less than a second.
write_linker() {
  local new="$venv/bin/linking-twice.$$"
  cat >"$new" <<'SH'
#!/usr/bin/env bash
"${0%/*}/python" "$@" || exit
[[ " $* " == *" -Wl,-T,"* ]] || exit 0
arguments=() last=
for argument in "$@"; do
  [[ $last != -o ]] || argument=${argument%-*}.symbols # without cargo's hash
  [[ $argument == *-strip-* || $argument == -s ]] || arguments+=("$argument")
  last=$argument
done
exec "${0%/*}/python" "${arguments[@]}"
SH
  chmod +x "$new"
  mv "$new" "$venv/bin/linking-twice" # at once, because another build may run the old one
}

# --- Build, check, pack ---------------------------------------------------------------------

# triple ARCH: Rust's name of the target.
triple() { printf %s "${1/arm64/aarch64}-unknown-linux-musl"; }

# built ARCH: the directory of cargo's results.
built() { printf %s "$cache/$(triple "$1")/release"; }

# compile OPTION…: cargo builds all of `archs` in one run, because the last step of each build has one thread.
# The binaries must not contain the name of a directory of this machine. Functions that cannot panic get no
# unwinding table. `more_flags` are rustc's.
compile() {
  local arch crates targets=() flags=(-Clink-self-contained=no -Cforce-unwind-tables=no "${more_flags[@]}"
    "--remap-path-prefix=$root=/build"
    "--remap-path-prefix=$sysroot/lib/rustlib/src/rust=/rust"
    "--remap-path-prefix=$(readlink -f "$sysroot/lib/rustlib/src/rust")=/rust")
  for crates in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
    flags+=("--remap-path-prefix=$crates=/crates")
  done
  for arch in "${archs[@]}"; do targets+=(--target "$(triple "$arch")"); done
  # RUSTC_BOOTSTRAP only lets a stable cargo build std. optimize_for_size replaces the default features
  # of std, which include its backtrace printer.
  CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; printf %s "${flags[*]}") RUSTC_BOOTSTRAP=1 \
    "$venv/bin/cargo-zigbuild" zigbuild --locked --release "${targets[@]}" "$@" \
    -Zbuild-std=std,panic_unwind,panic_abort -Zbuild-std-features=optimize_for_size
}

# check_static FILE: an execution environment may have any version of glibc, or none.
check_static() {
  local dynamic segments
  dynamic=$(readelf -dW "$1") && segments=$(readelf -lW "$1") || return 1
  [[ $dynamic != *NEEDED* && $segments != *INTERP* ]]
}

# pack ARCH [ZIP]: reads the spec and refuses a bad one. Writes ZIP if it is given.
pack() {
  python3 - "$@" <<'PY'
import os, sys, zipfile

arch, target = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
files = {}
for number, line in enumerate(open("layer.zip.spec", encoding="utf-8"), 1):
    fields = line.split()
    if not fields or fields[0].startswith("#"):
        continue
    def refuse(why):
        sys.exit(f"build.sh: layer.zip.spec, line {number}: {why}: {line.strip()}")
    try:
        mode, path, source = int(fields[0], 8), fields[1], fields[2].format(arch=arch)
    except (ValueError, LookupError):
        refuse("not of the form MODE PATH SOURCE")
    if len(fields) != 3 or not 0 < mode <= 0o777:
        refuse("not of the form MODE PATH SOURCE")
    if any(part in ("", ".", "..") for part in path.split("/")) or path in files:
        refuse("not a plain relative path, or there twice")
    if os.path.dirname(path) == "extensions" and mode & 0o555 != 0o555:
        refuse("Lambda executes all that is in extensions/, but not everybody may execute this")
    files[path] = (mode, source)
if not files:
    sys.exit("build.sh: layer.zip.spec lists no file")
if target:
    with zipfile.ZipFile(target + ".new", "w") as layer:
        for path, (mode, source) in sorted(files.items()):
            entry = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0)) # the oldest a zip can hold
            entry.create_system = 3 # Unix: without it the mode is lost, and the extension cannot start
            entry.external_attr = (0o100000 | mode) << 16
            with open(source, "rb") as data:
                layer.writestr(entry, data.read(), zipfile.ZIP_DEFLATED, compresslevel=9)
    os.replace(target + ".new", target)
PY
}

compile_layers() {
  local arch binary more_flags=(-Clink-arg=-Wl,-T,$functions)
  for arch in "${archs[@]}"; do
    # cargo does not know the file, so it would not link again after a change.
    binary=$(built "$arch")/$NAME
    [[ $binary -nt $functions ]] || rm -f "${binary%/*}/"{,deps/}{${NAME//-/[-_]},$WRAPPER}*
  done
  compile --bin "$NAME" --bin "$WRAPPER"
  for arch in "${archs[@]}"; do
    mkdir -p "$layer/$arch"
    install -m 755 "$(built "$arch")/"{"$NAME","$WRAPPER"} "$layer/$arch"
    install -m 755 "$(built "$arch")/deps/${NAME//-/_}.symbols" "$layer/$arch/$NAME.symbols"
  done
}

build_layers() {
  local arch failed=0
  compile_layers
  printf '\n%-8s %10s %10s %10s\n' "" "extension" "wrapper" "zip"
  for arch in "${archs[@]}"; do finish_layer "$arch" || failed=1; done
  ((!failed)) || die "the build is not fit for a layer; see the table"
}

# finish_layer ARCH: writes the zip if the binaries are fit for a layer, and prints a row of the table.
finish_layer() {
  local arch=$1 binary=$layer/$1/$NAME wrapper=$layer/$1/$WRAPPER zip=$layer/$NAME-$1.zip
  local size wrapper_size verdict=ok
  size=$(($(wc -c <"$binary"))) wrapper_size=$(($(wc -c <"$wrapper")))
  ((size <= SIZE_BUDGET)) || verdict="OVER THE BUDGET of $SIZE_BUDGET bytes"
  ((wrapper_size <= WRAPPER_BUDGET)) || verdict="WRAPPER OVER THE BUDGET of $WRAPPER_BUDGET bytes"
  check_static "$binary" && check_static "$wrapper" ||
    verdict="NOT STATIC: one has a NEEDED entry or an interpreter"
  [[ $verdict != ok ]] || pack "$arch" "$zip" || verdict="NO ZIP"
  printf '%-8s %10s %10s %10s  %s\n' "$arch" "$size" "$wrapper_size" "$([[ -e $zip ]] && wc -c <"$zip")" "$verdict"
  [[ $verdict == ok ]]
}

build_layout() {
  compile_layers
  env -u CARGO_TARGET_DIR python3 tests/layout/layout.py "$layer/${archs[0]}/$NAME.symbols" >"$cache/functions.ld"
  mv "$cache/functions.ld" "$functions"
}

build_comparators() {
  local arch name more_flags=()
  compile --manifest-path tests/comparators/Cargo.toml
  for arch in "${archs[@]}"; do
    mkdir -p "target/comparators/$arch"
    for name in floor bare async; do
      install -m 755 "$(built "$arch")/$name" "target/comparators/$arch/$name"
      check_static "target/comparators/$arch/$name" || die "$name is not static"
    done
  done
}

with_qemu=0 build=layers archs=()
for argument in "$@"; do
  case $argument in
    --with-qemu) with_qemu=1 ;;
    --comparators) build=comparators ;;
    --layout) build=layout ;;
    x86_64 | arm64) archs+=("$argument") ;;
    *) die "unknown argument '$argument'" "usage: ./build.sh [--with-qemu] [--comparators | --layout] [x86_64 | arm64]" ;;
  esac
done
[[ $build != layout ]] || archs=("$(uname -m | sed s/aarch64/arm64/)") # the architecture that can run here
((${#archs[@]})) || archs=(x86_64 arm64)

ensure_tools
for arch in "${archs[@]}"; do
  [[ $build == layers ]] || break
  rm -f "$layer/$NAME-$arch.zip" # after a failure, no zip of an earlier build may be left
  pack "$arch"                   # reports a bad spec before the long work
done
find_toolchain
ensure_zig
write_linker
say "compiler: $("$sysroot/bin/rustc" --version), with std built from $sysroot/lib/rustlib/src/rust"
say "linker and C compiler: zig $ZIGLANG with cargo-zigbuild $CARGO_ZIGBUILD, in target/zig"

export CARGO=$sysroot/bin/cargo RUSTC=$sysroot/bin/rustc PATH=$venv/bin:$PATH
export CARGO_TARGET_DIR=$cache CARGO_ZIGBUILD_PYTHON_PATH=$venv/bin/linking-twice
export CARGO_ZIGBUILD_CACHE_DIR=$cache/zigbuild ZIG_GLOBAL_CACHE_DIR=$cache/zig ZIG_LOCAL_CACHE_DIR=$cache/zig
"$CARGO" fetch --quiet --locked # the crates' directory must exist when its name is remapped

say "compiling $build for ${archs[*]}"
"build_$build"
