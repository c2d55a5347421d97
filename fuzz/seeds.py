#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets, fuzz/corpus/TARGET/NAME, which are committed.

Run it again after changing it; inputs that a fuzz run found are kept (their names are hashes).
"""

import json
import pathlib
import struct

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"


def write(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


# -- requests: what OpenAI's clients, coding agents and llama-server's users send ----------------

USER = {"role": "user", "content": "What is the capital of France?"}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a <city> & \"country\"",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
CHATS = {
    "plain": {"model": "gpt-4o", "messages": [USER]},
    "stream": {
        "model": "local",
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.7,
        "max_completion_tokens": 4096,
        "messages": [{"role": "system", "content": "Be brief."}, USER],
    },
    "agent": {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "You edit code.", "cache_control": {"type": "ephemeral"}}]},
            {"role": "user", "content": [{"type": "text", "text": "List the files"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "ls", "arguments": "{\"path\": \".\"}"}}],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "Cargo.toml\nsrc"}]},
            {"role": "system", "content": "The user is in a hurry."},
            {"role": "assistant", "content": "Two entries.", "reasoning_content": "Count them."},
            {"role": "user", "content": "Thanks \U0001f980"},
        ],
        "tools": [TOOL],
        "tool_choice": "none",
        "parallel_tool_calls": False,
        "seed": 7,
    },
    "sampling": {
        "messages": [USER],
        "temperature": 1.3,
        "top_k": 40,
        "top_p": 0.95,
        "min_p": 0.05,
        "typical_p": 0.9,
        "top_n_sigma": 1.5,
        "xtc_probability": 0.5,
        "xtc_threshold": 0.1,
        "dynatemp_range": 0.5,
        "dynatemp_exponent": 1.0,
        "repeat_last_n": -1,
        "repeat_penalty": 1.1,
        "frequency_penalty": 0.2,
        "presence_penalty": -0.2,
        "dry_multiplier": 0.8,
        "dry_base": 1.75,
        "dry_allowed_length": 2,
        "dry_penalty_last_n": -1,
        "dry_sequence_breakers": ["\n", ":", "\"", "*"],
        "mirostat": 2,
        "mirostat_tau": 5.0,
        "mirostat_eta": 0.1,
        "samplers": ["penalties", "dry", "top_k", "temperature"],
        "min_keep": 1,
        "seed": -1,
        "ignore_eos": True,
        "logit_bias": {"15": -100, "hi": 1.5, "7": False},
    },
    "options": {
        "messages": [USER, {"role": "assistant", "content": "The capital"}],
        "n": 2,
        "stop": ["\n\n", "END"],
        "logprobs": True,
        "top_logprobs": 5,
        "cache_prompt": False,
        "id_slot": 1,
        "return_progress": True,
        "return_tokens": True,
        "timings_per_token": True,
        "t_max_predict_ms": 1000,
        "sse_ping_interval": 3,
        "response_format": {"type": "text"},
        "chat_template_kwargs": {"enable_thinking": False},
        "reasoning_effort": "low",
        "continue_final_message": True,
        "logit_bias": [[1, 2.5], ["text", False]],
        "echo": True,
    },
}
COMPLETIONS = {
    "text": {"prompt": "Once upon a time", "max_tokens": 16, "temperature": 0, "stop": "."},
    "tokens": {"prompt": [1, 2, "three", 4], "echo": True, "logprobs": 3, "n": 2, "best_of": 2},
    "list": {"prompt": ["a", ["b", 5], {"prompt_string": "c"}], "n_predict": -1, "samplers": "edskypmxt"},
}
TOKENIZE = {
    "text": {"content": "<|im_start|>hi \u00e9\U0001f980", "add_special": True, "with_pieces": True},
    "mixed": {"content": ["a", 5, "b"], "parse_special": False},
}


def requests():
    for which, bodies in [(0, CHATS), (1, COMPLETIONS), (2, CHATS), (3, TOKENIZE)]:
        for name, body in bodies.items():
            if which == 2 and name != "agent":
                continue
            write("requests", f"{which}-{name}", bytes([which]) + json.dumps(body).encode())
    write("requests", "4-tokens", b"\x04" + json.dumps({"tokens": [1, 2, 3]}).encode())
    write("requests", "0-odd-numbers", b'\x00{"messages":[],"n":1e999,"seed":-9223372036854775809,"top_k":1.0e2}')
    write("requests", "0-odd-strings", b'\x00{"messages":[{"role":"user","content":"\\ud800\\u0000"}]}')
    write("requests", "0-twice", b'\x00{"n":1,"n":2,"messages":[{"role":"user","content":"a","content":"b"}]}')
    write("requests", "0-deep", b'\x00{"messages":' + b"[" * 200)


# -- messages: what Claude Code and Anthropic's SDKs send, and outputs for answers ----------------

CACHED = {"cache_control": {"type": "ephemeral"}}
MESSAGES = {
    "plain": {"model": "claude", "max_tokens": 64, "messages": [USER]},
    "agent": {
        "model": "claude-sonnet-4-5",
        "max_tokens": 32000,
        "stream": True,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=0a1b2;"},
            {"type": "text", "text": "You edit code.", **CACHED},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "List the files", **CACHED}]},
            {"role": "system", "content": "The user is in a hurry."},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "ls.", "signature": ""},
                    {"type": "redacted_thinking", "data": "x"},
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "toolu_1", "name": "ls", "input": {"path": "."}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "is_error": True,
                        "content": [{"type": "text", "text": "denied"}],
                    },
                    {"type": "text", "text": "Again \U0001f980"},
                ],
            },
        ],
        "tools": [
            {"name": "ls", "description": "Lists", "input_schema": {"type": "object"}, "strict": True, **CACHED},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
        ],
        "tool_choice": {"type": "tool", "name": "ls", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "metadata": {"user_id": "user_a_account_b_session_c"},
        "stop_sequences": ["\n\nHuman:", "END"],
        "temperature": 1,
        "top_p": 0.9,
        "top_k": 40,
    },
}


def messages():
    for name, body in MESSAGES.items():
        write("messages", f"0-{name}", b"\x00" + json.dumps(body).encode())
    for name, said in OUTPUTS.items():
        head = bytes([1, 2 * FORMATS.index(name), 2, 3])
        write("messages", f"1-{name}", head + said.encode())


# -- GGUF headers --------------------------------------------------------------------------------

U32, I32, F32, BOOL, TEXT, ARRAY = 4, 5, 6, 7, 8, 9


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, content):
    if kind == TEXT:
        return text(content)
    if kind == ARRAY:
        of, items = content
        return struct.pack("<IQ", of, len(items)) + b"".join(value(of, item) for item in items)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], content)


def gguf(keys, tensors, version=3):
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys))
    for key, (kind, content) in keys.items():
        out += text(key) + struct.pack("<I", kind) + value(kind, content)
    data = 0
    for name, dims, kind in tensors:
        values = 1
        for dim in dims:
            values *= dim
        out += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        out += struct.pack("<IQ", kind, data)
        data += (values // 32 * 34 if kind == 8 else values * 4) + 31 & ~31
    return out + bytes(-len(out) % 32 + data)


def model(arch, **more):
    keys = {
        "general.architecture": (TEXT, arch),
        "general.name": (TEXT, "Seed"),
        "general.file_type": (U32, 7),
        f"{arch}.context_length": (U32, 4096),
        f"{arch}.embedding_length": (U32, 32),
        f"{arch}.block_count": (U32, 1),
        f"{arch}.feed_forward_length": (U32, 32),
        f"{arch}.attention.head_count": (U32, 2),
        f"{arch}.attention.head_count_kv": (U32, 1),
        f"{arch}.attention.key_length": (U32, 32),
        f"{arch}.attention.value_length": (U32, 32),
        f"{arch}.attention.layer_norm_rms_epsilon": (F32, 1e-6),
        "tokenizer.ggml.model": (TEXT, "gpt2"),
        "tokenizer.ggml.pre": (TEXT, "qwen2"),
        "tokenizer.ggml.tokens": (ARRAY, (TEXT, ["a", "b", "ab", "<|end|>"])),
        "tokenizer.ggml.token_type": (ARRAY, (I32, [1, 1, 1, 3])),
        "tokenizer.ggml.merges": (ARRAY, (TEXT, ["a b"])),
        "tokenizer.ggml.eos_token_id": (U32, 3),
        "tokenizer.ggml.add_bos_token": (BOOL, False),
        "tokenizer.chat_template": (TEXT, "{{ messages[0].content }}"),
    }
    keys.update({f"{arch}.{name.replace('__', '.')}": content for name, content in more.items()})
    return keys


def tensors(*blocks):
    common = [("token_embd.weight", [32, 4], 8), ("output_norm.weight", [32], 0)]
    return common + [(f"blk.0.{name}.weight", dims, kind) for name, dims, kind in blocks]


ATTENTION = [
    ("attn_norm", [32], 0),
    ("attn_q", [32, 64], 8),
    ("attn_k", [32, 32], 8),
    ("attn_v", [32, 32], 8),
    ("attn_output", [64, 32], 8),
    ("attn_q_norm", [32], 0),
    ("attn_k_norm", [32], 0),
    ("ffn_norm", [32], 0),
]
DENSE = [("ffn_gate", [32, 32], 8), ("ffn_up", [32, 32], 8), ("ffn_down", [32, 32], 8)]
EXPERTS = [
    ("ffn_gate_inp", [32, 2], 0),
    ("ffn_gate_exps", [32, 32, 2], 8),
    ("ffn_up_exps", [32, 32, 2], 8),
    ("ffn_down_exps", [32, 32, 2], 8),
]


def headers():
    dense = gguf(model("qwen3"), tensors(*ATTENTION, *DENSE))
    write("gguf", "qwen3", dense)
    moe = model("qwen3moe", expert_count=(U32, 2), expert_used_count=(U32, 1), expert_feed_forward_length=(U32, 32))
    write("gguf", "qwen3moe", gguf(moe, tensors(*ATTENTION, *EXPERTS)))
    hybrid = model(
        "qwen3next",
        block_count=(U32, 2),
        full_attention_interval=(U32, 2),
        expert_count=(U32, 2),
        expert_used_count=(U32, 1),
        ssm__conv_kernel=(U32, 4),
        ssm__inner_size=(U32, 64),
        ssm__state_size=(U32, 32),
        ssm__time_step_rank=(U32, 2),
        ssm__group_count=(U32, 1),
    )
    write("gguf", "qwen3next", gguf(hybrid, tensors(*ATTENTION)))
    write("gguf", "llama", gguf(model("llama", rope__scaling__type=(TEXT, "yarn")), tensors(*ATTENTION[:5], *DENSE)))
    per_layer = model("gemma3", attention__head_count_kv=(ARRAY, (I32, [1])), attention__sliding_window=(U32, 512))
    write("gguf", "gemma3", gguf(per_layer, tensors()))
    write("gguf", "deepseek2", gguf(model("deepseek2", attention__kv_lora_rank=(U32, 32), rope__dimension_count=(U32, 32)), tensors()))
    write("gguf", "mamba", gguf(model("mamba", ssm__conv_kernel=(U32, 4), ssm__inner_size=(U32, 64), ssm__state_size=(U32, 16), ssm__time_step_rank=(U32, 4)), tensors()))
    split = model("qwen3")
    split.update({"split.no": (U32, 0), "split.count": (U32, 2), "split.tensors.count": (I32, 9)})
    write("gguf", "split", gguf(split, tensors()))
    write("gguf", "version-2", gguf(model("qwen3"), tensors(), version=2))
    write("gguf", "cut", dense[:600])
    write("gguf", "other", b"PK\x03\x04 is a zip")


# -- streams -------------------------------------------------------------------------------------


def streams():
    def pieces(name, stops, *parts):
        stops = b"\xfd".join(stop.encode() for stop in stops)
        write("streams", name, b"\x01" + b"\xfe".join([stops, *parts]))

    pieces("plain", [], b"Hello", b",", b" world")
    pieces("stop", ["END", "\n\n"], b"one E", b"N", b"D two")
    pieces("nested", ["abc", "b"], b"a", b"b", b"c")
    crab = "\U0001f980".encode()
    pieces("emoji", [], b"a", crab[:1], crab[1:3], crab[3:], b"b", crab[:2])
    pieces("invalid", ["\ufffd"], b"a\xff", b"\xc3", b"\xe2\x82", b"b")
    chunk = {"id": "x", "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1}}, "timings": {"predicted_per_second": 9.5}}
    error = {"error": {"message": "no", "code": 500}}
    lines = [": ping\n", *(f"data: {json.dumps(event)}\r\n" for event in (chunk, usage, error)), "\n", "event: x\n", "data: [DONE]\n"]
    write("streams", "events", b"\x00" + "".join(lines).encode())


# -- settings ------------------------------------------------------------------------------------

TOML = """# A server for two
context.parallel = 4
[model]
path = "/models/a.gguf"
alias = ["a", "b"]
chat_template_kwargs = { enable_thinking = false }
[sampling]
temperature = 0.7
top_k = 0x14
samplers = ["penalties", "top_k", "temperature"]
dry_sequence_breakers = ['\\n', "\\u00e9"]
seed = -1
[server]
host = ["127.0.0.1", "unix:/run/s.sock"]
port = 8091
[limits]
queue = 16
[log]
level = \"\"\"info\"\"\"
"""
ENV = """\ufeff# models
MODEL_FILE=a.gguf # the big one
export MODEL_ALIAS='x # y'
LLAMA_ARG_CTX_SIZE="8192"
LLAMA_ARG_FLASH_ATTN=on
LLAMA_ARG_NO_MMAP=1
STRIXHALO_SAMPLING__TEMPERATURE=0.5
HSA_OVERRIDE_GFX_VERSION=11.0.0
"""
VARIABLES = """LLAMA_ARG_MODEL=/m/a.gguf
LLAMA_ARG_N_GPU_LAYERS=all
LLAMA_ARG_HOST=::1,unix:/s
LLAMA_ARG_TOP_K=20
LLAMA_ARG_DRY_SEQUENCE_BREAKER=\\n
LLAMA_ARG_HF_REPO=x/y
STRIXHALO_SAMPLING__SAMPLERS=top_k;temperature
STRIXHALO_MODEL__CHAT_TEMPLATE_KWARGS={"a": [1, 2.5, null]}
STRIXHALO_SERVER__CORS_ORIGINS=["https://a.example"]
STRIXHALO_SERVR__PORT=1
"""


def settings():
    write("settings", "toml", b"\x00" + TOML.encode())
    write("settings", "toml-wrong", b'\x00[server]\nport = "x"\n[contxt]\nctx = 1979-05-27\n')
    write("settings", "toml-deep", b"\x00a = " + b"[" * 200)
    write("settings", "env-file", b"\x01" + ENV.encode())
    write("settings", "environment", b"\x02" + VARIABLES.encode())


# -- templates -----------------------------------------------------------------------------------


def templates():
    for which in range(6):
        write("templates", f"{which}-agent", bytes([which]) + json.dumps(CHATS["agent"]).encode())
    write("templates", "3-options", b"\x03" + json.dumps(CHATS["options"]).encode())
    bomb = {"messages": [USER], "chat_template_kwargs": {"messages": 5, "tools": [[[]]], "enable_thinking": "x", "raise_exception": None}}
    write("templates", "4-kwargs", b"\x04" + json.dumps(bomb).encode())
    source = (
        "{%- for m in messages -%}{% generation %}{{ m.role|upper ~ m['content'].strip()[:3] }}"
        "{% endgeneration %}{%- if not loop.last %}{{ m|tojson(indent=2) }}{% endif %}{%- endfor -%}"
        "{{ strftime_now('%d %b %Y') }}{% set ns = namespace(a=1) %}{{ raise_exception('no') if ns.a > 1 }}"
    )
    write("templates", "own-source", b"\xff" + source.encode() + b"\0" + json.dumps(CHATS["plain"]).encode())


# -- outputs -------------------------------------------------------------------------------------

# In the order of the table in src/chat/output/format.rs.
FORMATS = "harmony hermes qwen-xml glm minimax kimi deepseek31 deepseek3 deepseek32 deepseek4 mistral mistral-list granite lfm2 pythonic gemma functiongemma llama".split()
OUTPUTS = {
    "harmony": "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"a\":1}<|call|>",
    "hermes": "<think>\nhm\n</think>\n\nNow\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"\\ud83e\\udd80\\n\"}}\n</tool_call>",
    "qwen-xml": "<tool_call>\n<function=f>\n<parameter=a>\n 1\n\n</parameter>\n<parameter=c>\nnull\n</parameter>\n<parameter=d>\n[1]\n</parameter>\n</function>\n</tool_call>",
    "glm": "<tool_call>f\n<arg_key>b</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
    "minimax": "<minimax:tool_call>\n<invoke name=\"f\">\n<parameter name=\"a\">x</parameter>\n</invoke>\n<invoke name=\"ping\"></invoke></minimax:tool_call>",
    "kimi": "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"a\": 1}<|tool_call_end|><|tool_calls_section_end|>",
    "deepseek31": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "deepseek3": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "deepseek32": "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" string=\"true\">x</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>",
    "mistral": "[TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]ping[ARGS]{}",
    "mistral-list": "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {}}, {\"name\": \"ping\"}]",
    "lfm2": "<|tool_call_start|>[f(a='x\\n', b=[1, None]), ping()]<|tool_call_end|>",
    "pythonic": "[f(a=\"x\", e=True), ping()]",
    "gemma": "<|tool_call>call:f{a:<|\"|>x<|\"|>,b:[1,{c:true}]}<tool_call|>",
    "llama": "{\"name\": \"f\", \"parameters\": {\"a\": \"}\"}}; {\"name\": \"ping\", \"parameters\": {}}",
}


def outputs():
    for name, text in OUTPUTS.items():
        write("outputs", name, bytes([2 * FORMATS.index(name), 2, 0, 3]) + text.encode())
    thought = "I need it.\n" + OUTPUTS["qwen-xml"]
    write("outputs", "thought", bytes([2 * FORMATS.index("qwen-xml") + 1, 1, 1, 0]) + thought.encode())


# -- responses: bodies with what Codex and OpenAI's libraries send, and parts of outputs --------------

ITEMS = [
    {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "You edit code."}]},
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "List the files"}]},
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "content": None, "encrypted_content": None},
    {"type": "function_call", "call_id": "call_1", "name": "ls", "namespace": "mcp__fs", "arguments": "{\"path\": \".\"}"},
    {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "src"}]},
    {"type": "custom_tool_call", "call_id": "call_2", "name": "apply_patch", "input": "*** Begin Patch"},
    {"type": "custom_tool_call_output", "call_id": "call_2", "output": "Done"},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Two.", "annotations": []}]},
    {"type": "item_reference", "id": "msg_1"},
]
LARK = 'start: begin hunk+ end?\nbegin: "*** " LF\nhunk: ("+" | "-") /(.*)/ LF -> line\nend: "x" ~ 2..3\n%import common.LF\n'
RESPONSES_TOOLS = [
    {"type": "function", "name": "f", "description": "D", "strict": False, "parameters": TOOL["function"]["parameters"]},
    {"type": "namespace", "name": "mcp__fs", "description": "N", "tools": [{"type": "function", "name": "ls"}]},
    {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark", "definition": LARK}},
    {"type": "custom", "name": "n", "format": {"type": "grammar", "syntax": "regex", "definition": "[0-9]+"}},
    {"type": "web_search"},
]
RESPONSES = {
    "text": {"model": "gpt-5", "input": "What?", "instructions": "Be brief.", "previous_response_id": "resp_1", "text": {"format": {"type": "json_schema", "name": "r", "schema": {"type": "object"}}}},
    "codex": {
        "model": "local", "instructions": "You are Codex.", "input": ITEMS, "tools": RESPONSES_TOOLS, "tool_choice": "auto",
        "parallel_tool_calls": False, "reasoning": {"effort": "medium", "summary": "auto"}, "store": False, "stream": True,
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "truncation": "auto", "max_output_tokens": 5,
    },
    "choice": {"input": ITEMS[:2], "tools": RESPONSES_TOOLS, "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}},
}


def responses():
    for name, body in RESPONSES.items():
        write("responses", name, b"\x00" + json.dumps(body).encode())
    parts = b"\xfe".join([b"\x05hm", b"\x06Now", b"\x02", b"\x05{\"a\": ", b"\x051}", b"\x01", b"\x03", b"\x05{\"input\": \"a\\n", b"\x05b\"}", b"\x00", b"\x06end"])
    for flags in (0, 1, 2, 4, 8):
        write("responses", f"stream-{flags}", bytes([1, flags]) + parts)


# -- native and ollama: their bodies, then their answers -----------------------------------------

NATIVE = {
    "text": {"prompt": "Once", "n_predict": 8, "n_probs": 3, "stop": ["x"], "return_tokens": True},
    "mixed": {"prompt": [1, "a", [2]], "id_slot": 1, "response_fields": ["content", "timings/predicted_n"]},
    "list": {"prompt": [["a", 5], "b"], "n_cmpl": 2, "json_schema": {"type": "object"}, "stream": True},
}
INFILL = {
    "plain": {"input_prefix": "def f(", "input_suffix": "return a", "prompt": "", "n_predict": 16},
    "repository": {
        "input_prefix": "", "input_suffix": "",
        "input_extra": [{"filename": "a.py", "text": "x = 1\n"}, {"text": "y"}],
    },
}
OLLAMA_CHATS = {
    "plain": {"model": "m:latest", "messages": [USER], "keep_alive": "5m"},
    "tools": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            USER,
            {"role": "assistant", "content": "", "thinking": "T", "tool_calls": [{"function": {"name": "ls", "arguments": {"a": [1]}}}]},
            {"role": "tool", "content": "src", "tool_name": "ls"},
        ],
        "tools": [TOOL], "stream": False, "think": "low", "format": "json",
    },
    "options": {
        "messages": [USER], "think": True, "logprobs": True, "top_logprobs": 2,
        "format": {"type": "object", "properties": {"a": {"enum": [1]}}},
        "options": {"num_predict": -2, "temperature": 0.5, "top_k": 5, "stop": "x", "seed": 0, "num_ctx": 4096},
    },
    "image": {"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]},
}
OLLAMA_GENERATIONS = {
    "question": {"model": "m", "prompt": "Why?", "system": "S", "template": "{{ .Prompt }}", "context": []},
    "raw": {"prompt": "Once", "raw": True, "stream": False},
    "gap": {"prompt": "def f(", "suffix": "return a"},
    "load": {"model": "m", "keep_alive": 0},
}


def native():
    for which, bodies in [(0, NATIVE), (1, INFILL)]:
        for name, body in bodies.items():
            write("native", f"{which}-{name}", bytes([which]) + json.dumps(body).encode())
    write("native", "2-text", bytes([2, 3]) + b"a\xfe\xfeb\nc\xfe d\xfee\xfe")


def ollama():
    for which, bodies in [(0, OLLAMA_CHATS), (1, OLLAMA_GENERATIONS)]:
        for name, body in bodies.items():
            write("ollama", f"{which}-{name}", bytes([which]) + json.dumps(body).encode())
    for name, text in OUTPUTS.items():
        write("ollama", f"2-{name}", bytes([2, 4 * FORMATS.index(name), 0, 3]) + text.encode())


# -- embeddings: bodies of each dialect, and a vector ----------------------------------------------

EMBEDDINGS = [
    {
        "text": {"model": "text-embedding-3-small", "input": "a", "encoding_format": "base64", "user": "u"},
        "list": {"input": ["a", "b"], "dimensions": 64, "encoding_format": "float"},
        "tokens": {"input": [[1, 2], [3]]},
        "one": {"input": [1, 2, 3], "dimensions": 0},
    },
    {
        "content": {"content": ["a", [1, 2]], "embd_normalize": -1},
        "input": {"input": "a", "embd_normalize": 3},
    },
    {
        "text": {"model": "m:latest", "input": "a", "truncate": False, "keep_alive": "5m", "options": {}},
        "list": {"input": ["a", "b"], "dimensions": 8},
        "nothing": {"model": "m", "input": []},
    },
    {"text": {"model": "m", "prompt": "a"}, "nothing": {"prompt": ""}},
    {
        "jina": {"model": "r", "query": "q", "documents": ["a", {"text": "b"}, "c"], "top_n": 2, "return_documents": True},
        "tei": {"query": "q", "texts": ["a", "b"], "return_text": True, "raw_scores": False},
    },
]


def embeddings():
    for which, bodies in enumerate(EMBEDDINGS):
        for name, body in bodies.items():
            write("embeddings", f"{which}-{name}", bytes([which]) + json.dumps(body).encode())
    write("embeddings", "5-vector", bytes([5, 3, 3]) + struct.pack("<5f", 1, -0.5, 0, 3e-20, 7e9))


if __name__ == "__main__":
    for write_seeds in (
        requests, messages, responses, native, ollama, embeddings, headers, streams, settings, templates, outputs,
    ):
        write_seeds()
