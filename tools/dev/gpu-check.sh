# shellcheck shell=bash disable=SC2154 # packages.sh sets cache, build.sh binary
# Part of ./dev: the tests that want a GPU. Without one they run on lavapipe, Mesa's Vulkan driver
# for CPUs, in a chroot of Debian sid: Debian 12's dies at the first mixture of experts. That is a
# second backend with buffers and kernels of its own, and proves no speed and no other driver.

# The tests of tests/api and tests/engine.rs that run on a GPU, beside tests/api/gpu.rs. Lavapipe
# makes some 30 tokens a second and takes seconds for the first use of a shader: keep them few.
readonly gpu_api_tests=(
    cancel::a_client_that_leaves_frees_its_slots_streaming_or_not
    cancel::clients_that_leave_do_not_wait_for_others
    cache::a_system_prompt_is_read_once_for_two_conversations
    cache::an_agents_loop_whose_answers_are_not_what_was_generated_reads_only_its_new_tail
    cache::disk::conversations_go_on_after_a_restart
    chat::a_repeated_prompt_comes_from_the_cache
    chat::log_probabilities_have_an_entry_for_every_token_and_as_many_alternatives_as_asked
    completions::echo_with_log_probabilities_scores_the_prompt
    demo::a_tool_call_is_written_when_a_tool_is_offered
    structured::a_few_outputs_of_random_models_fit_their_schemas
    streams::chunks_come_in_openais_order_and_add_up_to_the_whole_answer
)
readonly gpu_engine_tests=(
    a_conversation_is_continued_from_its_slot_and_a_new_one_takes_an_empty_slot
    a_drain_ends_running_streams_properly_and_refuses_new_ones
    dropping_a_stream_frees_its_slot_also_while_the_prompt_is_read
    memory::the_test_models_take_what_the_plan_says
    moe_and_hybrid_models_generate_the_same_from_a_cached_history_as_from_a_cold_start
    prompt_log_probabilities_cover_the_whole_prompt
    speculation::a_checkpoint_outlives_the_drafts_behind_it
    speculation::a_draft_is_taken_back_by_a_kept_state_or_else_by_a_copy
)
gpu_chroot=
gpu_device=
# A Vulkan driver that computes wrongly; empty for other backends.
gpu_wrong_driver=
# More variables of the environment for what runs there.
gpu_environment=()

# gpu_check [--features FEATURE] [--soak MINUTES]: on the machine's own GPU where a feature is named.
gpu_check() {
    local feature=vulkan minutes=2
    gpu_chroot=$cache/gpu-check/root
    while (($# >= 2)); do
        case $1 in
            --features) feature=$2 gpu_chroot= ;;
            --soak) minutes=$2 ;;
            *) break ;;
        esac
        shift 2
    done
    [[ $# == 0 && $minutes =~ ^[0-9]+$ ]] \
        || die "usage: ./dev gpu-check [--features hip|vulkan|cuda] [--soak MINUTES]"
    case $feature in
        vulkan) gpu_device=Vulkan0 ;;
        hip) gpu_device=ROCm0 ;;
        cuda) gpu_device=CUDA0 ;;
        *) die "no feature for a GPU: $feature" ;;
    esac
    if [[ -n $gpu_chroot ]]; then
        [[ $(id -u) == 0 ]] || die "chroot needs root: run ./dev gpu-check as root"
        [[ -e $gpu_chroot/.complete && -x $gpu_chroot/usr/bin/python3 ]] \
            || make_sid_chroot "$gpu_chroot" install_lavapipe
    fi
    # shellcheck disable=SC2034 # tests.sh reads it
    summary_due=yes
    build --features "$feature"
    scratch=$(mktemp -d)
    say "compiling the tests"
    cargo test --release --locked --features "$feature" --no-run --test api --test engine \
        --test service \
        2>"$scratch/build.log" || { cat "$scratch/build.log" >&2; die "the tests do not compile"; }
    if [[ $feature == vulkan ]]; then
        gpu_wrong_driver=$(realpath "$CARGO_TARGET_DIR")/wrong-driver.so
        "$CC" -shared -fPIC -o "$gpu_wrong_driver" tests/service/wrong_driver.c
    fi
    gpu_verify
    gpu_tests service/main --ignored selftest::
    gpu_tests api/main --ignored gpu::
    gpu_tests api/main --exact "${gpu_api_tests[@]}"
    gpu_tests engine --exact "${gpu_engine_tests[@]}"
    gpu_plans
    ((minutes == 0)) || gpu_soak "$minutes"
    summary 0
    ((failed == 0))
}

# About a minute and 800 MB. install_lavapipe FOLDER
install_lavapipe() { chroot_install "$1" mesa-vulkan-drivers libvulkan1 libgomp1 python3; }

# What the GPU computes against the CPU. The kernels that it compiles serve the tests after it; on
# lavapipe that takes minutes, and memory there is the machine's own.
gpu_verify() {
    local status=0
    local -a arguments=()
    [[ -z $gpu_chroot ]] || arguments=(--allocate 0.25)
    say "== on $gpu_device: strixhalo verify-gpu"
    with_gpu timeout 3600 "$(realpath "$binary")" verify-gpu --device "$gpu_device" "${arguments[@]}" >&2 \
        || status=$?
    count 0 $((status == 0)) $((status != 0)) 0
}

# The memory plan of models of real sizes against what llama.cpp lays out, in buffers as large as it
# asks for: lavapipe's own bound is 128 MiB.
gpu_plans() {
    local size=$((1 << 45))
    local -a gpu_environment=()
    [[ -z $gpu_chroot ]] || gpu_environment=("GGML_VK_FORCE_MAX_ALLOCATION_SIZE=$size"
        "GGML_VK_FORCE_MAX_BUFFER_SIZE=$size" "GGML_VK_SUBALLOCATION_BLOCK_SIZE=$size")
    gpu_tests engine --ignored memory::all_models_of_real_sizes_take_what_the_plan_says
}

# Conversations of a hybrid model, whose states a GPU keeps itself. gpu_soak MINUTES
gpu_soak() {
    local status=0
    local -a memory=()
    # Lavapipe compiles each kernel at its first use and keeps it: the server's own memory is flat.
    [[ -z $gpu_chroot ]] || memory=(--most-slope 16384)
    say "== on $gpu_device: tools/soak/caches.py for $1 minutes"
    # Kernels of a GPU multiply with 16 bits here and there.
    with_gpu timeout $((60 * $1 + 600)) python3 tools/soak/caches.py "$(realpath "$binary")" \
        --model tests/models/tiny-qwen3next.gguf --all-experts --minutes "$1" --clients 2 --tie 0.01 "${memory[@]}" \
        --flags "--cache-ram 16 --cache-checkpoints 8 --cache-disk-size 64" >&2 || status=$?
    count 0 $((status == 0)) $((status != 0)) 0
}

# Tests of one file of tests/, one after another. gpu_tests FILE --exact|--ignored NAME...
gpu_tests() {
    local program name status=0 log=$scratch/gpu.log
    program=$(sed -nE "s|.*Executable tests/$1\.rs \((.*)\)|\1|p" "$scratch/build.log")
    [[ -x $program ]] || die "cargo did not say where the tests of tests/$1.rs are"
    shift
    "$program" --list >"$scratch/list"
    for name in "${@:2}"; do
        grep -q "^$name" "$scratch/list" || die "tools/dev/gpu-check.sh names a test that is not there: $name"
    done
    say "== on $gpu_device: ${*:2}"
    with_gpu timeout 1800 "$program" --test-threads 1 "$@" >"$log" 2>&1 || status=$?
    cat "$log" >&2
    count_results "$status" "$log"
}

# Runs a command where the GPU is. with_gpu COMMAND...
with_gpu() {
    local -a folders
    if [[ -z $gpu_chroot ]]; then
        env STRIXHALO_TEST_GPU="$gpu_device" "${gpu_environment[@]}" \
            ${gpu_wrong_driver:+STRIXHALO_TEST_WRONG_DRIVER="$gpu_wrong_driver"} "$@"
        return
    fi
    # What was built here runs there as it is, with the folders of libraries that sid has not.
    mapfile -t folders < <(ldd "$binary" | sed -nE 's|.* => (/.+)/[^/ ]+ .*|\1|p' | sort -u \
        | grep -vE '^(/usr)?/lib(64|/[^/]+-linux-gnu)?$')
    # shellcheck disable=SC2016 # expanded by the inner shell
    in_chroot "$gpu_chroot" "$PWD" "$(realpath "$CARGO_TARGET_DIR")" "${folders[@]}" -- \
        PATH=/usr/bin:/bin HOME=/tmp LC_ALL=C.UTF-8 \
        VK_ICD_FILENAMES=/usr/share/vulkan/icd.d/lvp_icd.json GGML_VK_VISIBLE_DEVICES=0 \
        "STRIXHALO_TEST_GPU=$gpu_device" "STRIXHALO_TEST_WRONG_DRIVER=$gpu_wrong_driver" \
        "${gpu_environment[@]}" sh -c 'cd "$0" && exec "$@"' "$PWD" "$@"
}
