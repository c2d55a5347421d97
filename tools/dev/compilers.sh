# shellcheck shell=bash disable=SC2154 # packages.sh sets cache
# Part of ./dev: which compiler builds llama.cpp, and with which flags.
#
# A ggml that is built without thought is many times slower than it could be, and one compiler
# (gcc 12) makes it crash on CPUs with AMX. So ./dev picks the compiler, builds for the CPU it runs
# on, and lets the new binary decode a prompt before anyone relies on it.

given_target=${CARGO_TARGET_DIR:-}
given_rustflags=${RUSTFLAGS:-}
given_cxxflags=${CXXFLAGS:-}
given_cc=${CC:-}
given_cxx=${CXX:-}
# With it set, ggml would be built for a generic CPU.
unset SOURCE_DATE_EPOCH

# clang-19 made the fastest code of those measured; after it the newest first, clang before gcc.
readonly clang_versions=(19 22 21 20 18 17 16 15)
readonly gcc_versions=(16 15 14 13)
# Compilers whose binary crashed.
tried=

installed_compilers() {
    local v
    for v in "${clang_versions[@]}"; do ! have "clang++-$v" || echo "clang-$v"; done
    for v in "${gcc_versions[@]}"; do ! have "g++-$v" || echo "gcc-$v"; done
}

# clang-19 where the distribution has it, else its newest clang, else its newest gcc.
install_compiler() {
    local v
    update_packages
    for v in "${clang_versions[@]}"; do
        if offered "clang-$v" && offered "libomp-$v-dev"; then
            install_packages "clang-$v" "libomp-$v-dev" "libclang-$v-dev"
            return
        fi
    done
    for v in "${gcc_versions[@]}"; do
        if offered "g++-$v"; then
            install_packages "g++-$v" libclang-dev
            return
        fi
    done
    die "neither clang 15 nor gcc 13, or newer, to be had; older ones make a slow or a crashing binary. Set CC and CXX to try your own"
}

# bindgen reads llama.cpp's headers through libclang, whatever compiles them.
# ensure_libclang PACKAGE
ensure_libclang() {
    local pattern
    [[ -z ${LIBCLANG_PATH:-} ]] || return 0
    for pattern in '/usr/lib/llvm-*/lib/libclang.so*' '/usr/lib/llvm-*/lib/libclang-[0-9]*.so*' \
        '/usr/lib/*/libclang-[0-9]*.so*' '/usr/lib*/libclang.so*'; do
        ! compgen -G "$pattern" >/dev/null || return 0
    done
    install_packages "$1"
}

# A short name for this CPU, these compilers and CXXFLAGS.
build_key() {
    {
        grep -m4 -E '^(vendor_id|cpu family|model|stepping)[[:space:]]*:' /proc/cpuinfo || true
        grep -m1 -E '^(flags|Features)[[:space:]]*:' /proc/cpuinfo || true
        uname -m
        "$CXX" --version
        echo "$CXXFLAGS"
        rustc -vV
    } | sha256sum | cut -c1-16
}

# Sets CC, CXX, RUSTFLAGS and the caches for one compiler: use_compiler clang-19 clang++-19
use_compiler() {
    local flags="-C target-cpu=native" llvm key
    export CC=$1 CXX=$2 CXXFLAGS=$given_cxxflags RUSTFLAGS
    if llvm=$("$CC" -print-resource-dir 2>/dev/null); then
        # .../llvm-19/lib/clang/19: the crate asks for gcc's OpenMP, clang's has to be named.
        llvm=$(realpath "$llvm/../..")
        if [[ -e $llvm/libomp.so ]]; then
            flags+=" -L$llvm -C link-arg=-lomp -C link-arg=-Wl,-rpath,$llvm"
        fi
        # clang does not count on this with AMD's CPUs and then takes two shuffles for each scale of
        # a Q8_0 block instead of one: docs/performance.md.
        if [[ $(uname -m) == x86_64 ]]; then
            CXXFLAGS+="${CXXFLAGS:+ }-Xclang -target-feature -Xclang +fast-variable-crosslane-shuffle"
        fi
    fi
    case $given_rustflags in
        *target-cpu=*) RUSTFLAGS=$given_rustflags ;;
        *) RUSTFLAGS="$flags${given_rustflags:+ $given_rustflags}" ;;
    esac
    if have ccache; then
        export CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache
    fi
    key=$(build_key)
    # Native code of one CPU must not be handed to another: neither finished nor through ccache.
    export CCACHE_NAMESPACE=${CCACHE_NAMESPACE:-strixhalo-$key}
    export CARGO_TARGET_DIR=${given_target:-$cache/target-$key}
    # shellcheck disable=SC2034 # build.sh and server.sh run it
    binary=$CARGO_TARGET_DIR/release/strixhalo
    say "compiler $CXX, Rust $(rustc --version | cut -d' ' -f2), outputs in $CARGO_TARGET_DIR"
}

# Uses the best compiler that is not in `tried`; false when there is no other.
choose_compiler() {
    local name
    if [[ -n $given_cc && -n $given_cxx ]]; then
        [[ -z $tried ]] || return 1
        ensure_libclang libclang-dev
        use_compiler "$given_cc" "$given_cxx"
        return
    fi
    if [[ -z $(installed_compilers) ]]; then
        install_compiler
    elif ! have clang++-19 && can_install && offered clang-19 && offered libomp-19-dev; then
        install_compiler
    fi
    for name in $(installed_compilers); do
        [[ " $tried " != *" $name "* ]] || continue
        case $name in
            clang-*)
                ensure_libclang "lib$name-dev"
                use_compiler "$name" "clang++-${name#clang-}" ;;
            *)
                ensure_libclang libclang-dev
                use_compiler "$name" "g++-${name#gcc-}" ;;
        esac
        return
    done
    return 1
}
