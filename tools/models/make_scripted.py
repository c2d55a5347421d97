#!/usr/bin/env python3
"""Writes a GGUF model that answers with a given text, whatever it is asked.

    make_scripted.py out.gguf --say 'Hello.'
    make_scripted.py out.gguf --template xml --say-file call.txt --after-tool 'Done.' --without-tools 'A title'

For end-to-end tests of what a server and its clients make of an output that no small model could be
trained to write. The text is cut into tokens of which no two are the same, so each token alone tells
which comes next: the embedding of a token is the code of its successor, the output rows are the
codes, and the one layer between adds nothing. Prompts are read with the built-in model's tokenizer
and end in a line break, which leads to the first token of the answer. Answers that depend on the
turn come from the chat template: it ends the prompt with a control token, which leads elsewhere.
"""
import argparse
import re
import sys
from pathlib import Path

import numpy as np

import gguf_file
import tokenizer

ROOT = Path(__file__).resolve().parents[2]
BUILTIN = ROOT / "assets/tiny-chat-q8_0.gguf"
TEMPLATES = {
    # Calls in JSON, and a switch for thinking.
    "hermes": ROOT / "tools/models/chat_template.jinja",
    # Calls in XML, as Qwen3-Coder has them.
    "xml": ROOT / "src/chat/template/fixtures/xml.jinja",
    # The same, and the prompt opens a thinking block.
    "thinking": ROOT / "src/chat/template/fixtures/thinking.jinja",
}
# The turns that may have an answer of their own, and how a template knows them.
TURNS = {
    "after_tool": "messages | selectattr('role', 'equalto', 'tool') | list",
    "without_tools": "not tools",
}
# What a prompt ends with otherwise.
BREAKS = ("\n", "\n\n")
END = "<|im_end|>"
SPECIALS = [t for t, _ in tokenizer.SPECIALS]
WIDTH = 256
# Of the one attention head, which adds nothing: agents send 30,000 tokens, so it had better be small.
HEAD = 32
# Rows of the feed-forward part; where layers are there to take time, one reads 12 MiB.
FEED, SLOW_FEED = 64, 8192


def cut(text, taken, at_least):
    """The text as tokens that are not in `taken`, to which they are added: special tokens whole
    where they come first, the rest in pieces of at least so many bytes, as short as can be."""
    tokens, plain = [], ""
    for part in re.split("(" + "|".join(map(re.escape, SPECIALS)) + ")", text):
        if part in SPECIALS and part not in taken:
            pieces = cut_plain(plain.encode(), taken, at_least)
            if pieces is not None:
                tokens += [*pieces, part]
                taken |= {*pieces, part}
                plain = ""
                continue
        plain += part
    pieces = cut_plain(plain.encode(), taken, at_least)
    if pieces is None:
        sys.exit(f"{plain!r} cannot be cut into tokens that are not there yet")
    taken |= set(pieces)
    return tokens + pieces


def cut_plain(data, taken, at_least):
    """Bytes as different tokens that are not in `taken`; None where that cannot be."""
    pieces, start = [], 0
    while start < len(data):
        end = start + at_least
        while end < len(data) and tokenizer.spell(data[start:end]) in taken | set(pieces):
            end += 1
        piece, start = tokenizer.spell(data[start:end]), end
        # What is left at the end may be there already: it goes to the piece before.
        while piece in taken | set(pieces):
            if not pieces:
                return None
            piece = pieces.pop() + piece
        pieces.append(piece)
    return pieces


def template_of(text, turns):
    """A chat template that marks the turns that have an answer of their own."""
    conditions = [f"{{%- {'el' if i else ''}if {TURNS[turn]} %}}{{{{- '<|{turn}|>' }}}}"
                  for i, turn in enumerate(turns)]
    if not conditions:
        return text
    return text + "{%- if add_generation_prompt %}" + "".join(conditions) + "{%- endif %}{%- endif %}"


def write(path, answers, template, at_least=1, n_ctx=131072, layers=None):
    """`answers`: by turn; None is any turn that is not named. One that is a list is its tokens, which
    prompts are read as too. `layers`: so many that take time and change nothing. Returns the number of
    the answers' tokens."""
    tokens, types, merges = tokenizer.token_lists(tokenizer.from_gguf(BUILTIN))
    turns = [turn for turn in TURNS if turn in answers]
    breaks = [tokenizer.spell(b.encode()) for b in BREAKS]
    taken, successor, counts, whole = {END, *breaks}, {}, [], set()
    for turn, text in answers.items():
        if isinstance(text, list):
            whole |= set(text)
            answer = list(text)
        else:
            answer = cut(text, taken, at_least)
        counts.append(len(answer))
        answer.append(END)
        for before in (breaks if turn is None else [f"<|{turn}|>"]):
            successor[before] = answer[0]
        successor |= zip(answer, answer[1:])
    new = [t for t in successor if t not in set(tokens)]
    tokens += new
    types += [tokenizer.CONTROL if t[2:-2] in turns else
              tokenizer.USER_DEFINED if t in whole else tokenizer.NORMAL for t in new]

    ids = {t: i for i, t in enumerate(tokens)}
    codes = np.sign(np.random.default_rng(1).standard_normal((len(tokens), WIDTH), np.float32))
    # What is not in a text leads to its end, so that what a grammar forces does not run on.
    embeddings = np.tile(codes[ids[END]], (len(tokens), 1))
    for before, after in successor.items():
        embeddings[ids[before]] = codes[ids[after]]

    feed = SLOW_FEED if layers else FEED
    w = gguf_file.create(path, "llama")
    gguf_file.add_hparams(w, "F16", name="scripted", n_ctx=n_ctx, n_embd=WIDTH,
                          n_layer=layers or 1, n_head=1, n_head_kv=1, head_dim=HEAD, n_ff=feed,
                          rope_base=1e6)
    w.add_rope_dimension_count(HEAD)
    gguf_file.add_vocabulary(w, tokens, types, merges, template_of(template, turns))
    tensors = {
        "token_embd.weight": embeddings,
        "output_norm.weight": np.ones(WIDTH),
        "output.weight": codes / 4,     # the right logit is 64, the others are below 20
    }
    layer = {
        "attn_norm.weight": np.ones(WIDTH),
        "attn_q.weight": np.zeros((HEAD, WIDTH)),
        "attn_k.weight": np.zeros((HEAD, WIDTH)),
        "attn_v.weight": np.zeros((HEAD, WIDTH)),
        "attn_output.weight": np.zeros((WIDTH, HEAD)),
        "ffn_norm.weight": np.ones(WIDTH),
        "ffn_gate.weight": np.zeros((feed, WIDTH)),
        "ffn_up.weight": np.zeros((feed, WIDTH)),
        "ffn_down.weight": np.zeros((WIDTH, feed)),
    }
    for i in range(layers or 1):
        tensors |= {f"blk.{i}.{name}": data for name, data in layer.items()}
    for name, data in tensors.items():
        gguf_file.add_tensor(w, name, data, "F16")
    gguf_file.finish(w, path)
    return counts


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("out")
    say = ap.add_mutually_exclusive_group(required=True)
    say.add_argument("--say", metavar="TEXT")
    say.add_argument("--say-file", metavar="FILE", type=Path)
    ap.add_argument("--after-tool", metavar="TEXT", help="the answer once a tool has answered")
    ap.add_argument("--without-tools", metavar="TEXT", help="the answer where no tools are offered")
    ap.add_argument("--template", default="hermes", help=f"{', '.join(TEMPLATES)} or a file")
    ap.add_argument("--layers", type=int, metavar="N",
                    help="so many layers that change nothing; each takes a step's time for 12 MiB")
    ap.add_argument("--cut", type=int, default=1, metavar="BYTES", help="tokens are no shorter")
    args = ap.parse_args()
    answers = {None: args.say_file.read_text(encoding="utf-8") if args.say_file else args.say}
    answers |= {turn: text for turn in TURNS if (text := getattr(args, turn)) is not None}
    template = Path(TEMPLATES.get(args.template, args.template)).read_text(encoding="utf-8")
    counts = write(args.out, answers, template, args.cut, layers=args.layers)
    print(f"{args.out}: {', '.join(map(str, counts))} tokens")


if __name__ == "__main__":
    main()
