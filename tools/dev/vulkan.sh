# shellcheck shell=bash disable=SC2154 # packages.sh sets cache
# Part of ./dev: what a build with the feature `vulkan` needs beside a compiler.

given_prefix_path=${CMAKE_PREFIX_PATH:-}

# asks_for FEATURE ARGUMENT...: whether these arguments of cargo ask for a feature.
asks_for() {
    local feature=$1
    shift
    [[ " ${*//[,=\/]/ } " == *" $feature "* || " $* " == *" --all-features "* ]]
}

# Whether the compiler finds Vulkan's headers and SPIR-V's, and they are new enough: llama.cpp takes
# vk::LayerSettingEXT, which came with 1.3.275, for granted; what is newer still it asks for.
# has_vulkan_headers FLAG...
has_vulkan_headers() {
    # shellcheck disable=SC2086 # CXXFLAGS is a list
    "$CXX" $CXXFLAGS ${VULKAN_SDK:+"-I$VULKAN_SDK/include"} "$@" -x c++ -fsyntax-only - 2>/dev/null <<'CODE'
#include <vulkan/vulkan_core.h>
#include <spirv/unified1/spirv.hpp>
#ifndef VK_EXT_layer_settings
#error
#endif
CODE
}

# Whether programs can be linked with Vulkan's loader.
has_vulkan_loader() {
    echo 'int main(void) { return 0; }' \
        | cc ${VULKAN_SDK:+"-L$VULKAN_SDK/lib"} -x c - -lvulkan -o /dev/null 2>/dev/null
}

# Debian 12's headers are too old; those of a newer Debian go to the cache then, where CMake is told
# to look first. The loader and the shader compiler stay the system's. It takes a chosen compiler.
ensure_vulkan() {
    local headers=$cache/vulkan-headers
    local -a missing=()
    have glslc || missing+=(glslc)
    has_vulkan_loader || missing+=(libvulkan-dev)
    has_vulkan_headers || ! offers_vulkan_headers || missing+=(libvulkan-dev spirv-headers)
    ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
    ! has_vulkan_headers || return 0
    has_vulkan_headers "-I$headers/usr/include" \
        || unpack_debian "$headers" trixie alone libvulkan-dev spirv-headers \
        || die "the headers of Vulkan 1.3.275 or newer and of SPIR-V are missing; install them, or set VULKAN_SDK"
    export CMAKE_PREFIX_PATH=$headers/usr${given_prefix_path:+;$given_prefix_path}
}

# Whether the distribution has headers that are new enough.
offers_vulkan_headers() {
    local found
    offered libvulkan-dev || return 1
    found=$(apt-cache policy libvulkan-dev | sed -nE 's/^ *Candidate: *([0-9.]+).*/\1/p')
    [[ $(printf '%s\n' 1.3.275 "$found" | sort -V | head -n 1) == 1.3.275 ]]
}
