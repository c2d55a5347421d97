# shellcheck shell=bash disable=SC2154 # packages.sh sets cache
# Part of ./dev: does the HIP build compile, with Vulkan beside it in one binary? Debian's HIP
# compiler, ROCm libraries and shader compiler in a folder of their own answer that without a GPU and
# without AMD's packages. They are newer (7.2) than what the appliance runs by default (6.4.1): this
# checks our build, not AMD's release.

# hip_check [TARGET]
hip_check() {
    local target=${1:-gfx1151} root=$cache/hip-check/root log=$cache/hip-check/build.log build binary started
    local -a environment
    [[ $target =~ ^gfx[0-9a-f]+$ ]] || die "not a GPU target: $target (an example: gfx1151)"
    have cargo || die "cargo is missing: install Rust with rustup"
    [[ $(id -u) == 0 ]] || die "chroot needs root: run ./dev hip-check as root"
    # Fetched here, so that nothing in the chroot needs the network or a certificate.
    cargo fetch --locked >&2
    [[ -e $root/.complete ]] || make_sid_chroot "$root" install_hip_packages

    # Rust comes from this machine, read-only; the sources too. Outputs stay in the chroot.
    mkdir -p "$root/target"
    environment=(
        PATH=/rust/bin:/usr/bin:/bin HOME=/target CARGO_HOME=/cargo CARGO_NET_OFFLINE=true
        # CMake keeps what it was once configured for.
        "CARGO_TARGET_DIR=/target/$target"
        # Not ROCM_PATH: with it Debian's clang looks for AMD's device libraries in one place only.
        HIP_PATH=/usr HIP_PLATFORM=amd "CMAKE_HIP_ARCHITECTURES=$target"
        "CMAKE_HIP_FLAGS=-mllvm --amdgpu-unroll-threshold-local=600" CMAKE_POSITION_INDEPENDENT_CODE=ON
        CC=gcc CXX=g++ LC_ALL=C.UTF-8
        # As in a Nix sandbox, where ggml leaves out all that the target CPU does not ask for.
        SOURCE_DATE_EPOCH=1 "RUSTFLAGS=-C target-cpu=x86-64-v3"
    )
    say "compiling for $target: about 30 minutes on two idle cores; to watch: tail -f $log"
    started=$SECONDS
    # A configuration that failed is not tried again by the crate.
    for build in "$root/target/$target"/release/build/llama-cpp-sys-2-*/out/build; do
        [[ -e $build/Makefile ]] || rm -rf "$build"
    done
    in_chroot "$root" "$(rustc --print sysroot)=/rust" "$PWD=/source" \
        "${CARGO_HOME:-$HOME/.cargo}+=/cargo" -- "${environment[@]}" \
        sh -c "cd /source && exec cargo build -vv --release --locked --bin strixhalo --features hip,vulkan" \
        >"$log" 2>&1 \
        || { grep -vE 'cargo:rerun-if| = (None|Some)' "$log" | tail -n 60 >&2; die "the HIP build failed, see above and $log"; }

    binary=$root/target/$target/release/strixhalo
    say "checking the binary"
    # So clang names the code that it embeds for a GPU.
    grep -qaF "amdgcn-amd-amdhsa--$target" "$binary" || die "$binary holds no code for $target"
    grep -qaF ggml_vulkan "$binary" || die "$binary holds no Vulkan backend"
    chroot "$root" "/target/$target/release/strixhalo" version >"$cache/hip-check/version.txt" \
        || die "the HIP binary does not start without a GPU"
    cat "$cache/hip-check/version.txt" >&2
    grep -q 'AVX2 = 1' "$cache/hip-check/version.txt" || die "its CPU code was compiled without AVX2"
    say "the HIP build for $target compiles, links and starts ($(((SECONDS - started) / 60)) min)"
}

# About 3 minutes and 6 GB. install_hip_packages FOLDER
install_hip_packages() {
    chroot_install "$1" -t experimental \
        hipcc libamdhip64-dev librocblas-dev libhipblas-dev libhipblaslt-dev
    chroot_install "$1" cmake make g++ libclang-dev glslc libvulkan-dev spirv-headers
}
