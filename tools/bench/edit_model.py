#!/usr/bin/env python3
"""Writes a text, and a model that says it with small edits whatever it is asked, for the scenario
`edit`: text.txt and model.gguf in a folder.

    edit_model.py OUT --layers 24
    compare.py ... --scenario edit --model OUT/model.gguf --edit-text OUT/text.txt

Each word of the text is a token of the model, and none comes twice, as make_scripted.py wants it.
"""
import argparse
import random
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools/models"))

import make_scripted  # noqa: E402

WORDS_OF_A_LINE = 10


def words(count):
    """Different words of the same length: so none with the space behind it is a part of another."""
    r, found = random.Random(1), []
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    while len(found) < count:
        word = "".join(r.choices(syllables, k=3))
        if word not in found:
            found.append(word)
    return found


def text_and_answer(tokens, edits):
    """The text's tokens, and the same with so many others, spread evenly."""
    made = words(tokens + edits)
    text = [word + ("\n" if (i + 1) % WORDS_OF_A_LINE == 0 else " ")
            for i, word in enumerate(made[:tokens])]
    answer = list(text)
    for i, other in enumerate(made[tokens:]):
        at = (2 * i + 1) * tokens // (2 * edits)
        answer[at] = other + answer[at][-1]
    return text, answer


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("out", type=Path, metavar="OUT")
    ap.add_argument("--tokens", type=int, default=800, help="of the text [%(default)s]")
    ap.add_argument("--edits", type=int, default=20, help="tokens that differ [%(default)s]")
    ap.add_argument("--layers", type=int, default=24, help="each takes a step's time for 12 MiB "
                                                           "[%(default)s]")
    args = ap.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    text, answer = text_and_answer(args.tokens, args.edits)
    (args.out / "text.txt").write_text("".join(text), encoding="utf-8")
    template = make_scripted.TEMPLATES["hermes"].read_text(encoding="utf-8")
    make_scripted.write(args.out / "model.gguf", {None: answer}, template, layers=args.layers)


if __name__ == "__main__":
    main()
