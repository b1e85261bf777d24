# Shared by all scripts: where things are kept, what the machine has, how to say so. Sourced, not run.
# shellcheck shell=bash

set -euo pipefail

root_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Outside the checkout and kept between runs: compiling RocksDB takes a quarter of an hour on two cores.
cache_dir=${XDG_CACHE_HOME:-$HOME/.cache}/hearth
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache_dir/target}
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}
tools_dir=$cache_dir/tools
mkdir -p "$CARGO_TARGET_DIR" "$tools_dir"
cd "$root_dir"

step() { printf '\n== %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }
fail() {
    printf '\nerror: %s\n' "$*" >&2
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# How to become root for apt: nothing if we are, sudo if it does not ask, else not at all.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif has sudo && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

apt_updated=
# apt_install PACKAGE…: installs, or says which packages are missing and how to get them.
apt_install() {
    if ! has apt-get; then
        fail "this machine lacks: $*. The names are Debian's; install them with your package manager and run this again."
    fi
    note "installing with apt: $*"
    if [ -z "$apt_updated" ]; then
        as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq || note "apt-get update did not work; going on with what apt knows"
        apt_updated=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null ||
        fail "could not install what is missing. As root: apt-get install $*"
}

has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    has ldconfig && ldconfig -p 2>/dev/null | grep -q 'libclang[-0-9.]*\.so' && return 0
    # Not libclang-cpp, which many machines have and which is of no use here.
    local name
    for name in 'libclang.so*' 'libclang-[0-9]*.so*'; do
        compgen -G "/usr/lib/llvm-*/lib/$name" >/dev/null && return 0
        compgen -G "/usr/lib/*/$name" >/dev/null && return 0
    done
    return 1
}

# What the build needs beyond Rust: a C and C++ compiler for RocksDB, libclang for its bindings.
ensure_build_tools() {
    local missing=()
    has cc || missing+=(gcc libc6-dev)
    has c++ || missing+=(g++)
    has make || missing+=(make)
    has_libclang || missing+=(clang libclang-dev)
    if [ ${#missing[@]} -gt 0 ]; then
        apt_install "${missing[@]}"
    fi
    # rustup puts cargo there; a shell started before does not know it yet.
    if ! has cargo && [ -x "$HOME/.cargo/bin/cargo" ]; then
        export PATH="$HOME/.cargo/bin:$PATH"
    fi
    has cargo || fail "Rust is missing: install it from https://rustup.rs and run this again."
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    have=$(rustc --version | sed 's/^rustc \([0-9.]*\).*/\1/')
    [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n 1)" = "$wanted" ] ||
        fail "Rust $wanted or newer is needed, this is $have. Try: rustup update stable"
}

# How long the build may take is worth saying before it begins.
say_if_cold() {
    if ! compgen -G "$CARGO_TARGET_DIR/release/build/*rocksdb-sys-*/out/librocksdb.a" >/dev/null; then
        note "first build: RocksDB is compiled once, which takes a quarter of an hour on two cores"
    fi
    note "built in $CARGO_TARGET_DIR (kept between runs)"
}

build_server() {
    step "Building the server"
    say_if_cold
    cargo build --release --locked -p hearth
    export HEARTH_BIN="$CARGO_TARGET_DIR/release/hearth"
}

# ensure_venv FOLDER LIST WHAT: Python packages live in the cache and are installed again only when their list changes.
ensure_venv() {
    local venv=$1 list=$2 what=$3
    has python3 || apt_install python3 python3-venv
    if ! cmp -s "$list" "$venv/requirements.txt"; then
        note "installing $what from PyPI"
        rm -rf "$venv"
        mkdir -p "$(dirname "$venv")"
        if ! python3 -m venv "$venv" >/dev/null 2>&1; then
            apt_install python3-venv
            rm -rf "$venv"
            python3 -m venv "$venv"
        fi
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$list" || fail "could not install $what; is PyPI reachable?"
        cp "$list" "$venv/requirements.txt"
    fi
}

# A real Synapse in a virtual environment of its own; its Python is $synapse_python.
ensure_synapse() {
    has openssl || apt_install openssl
    ensure_venv "$cache_dir/interop/venv" tests/interop/requirements.txt Synapse
    synapse_python=$cache_dir/interop/venv/bin/python
}
