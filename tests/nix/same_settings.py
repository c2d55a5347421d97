"""Compares settings as the module wrote them with what `config show --json` read.

usage: same_settings.py WRITTEN.json SHOWN.json
"""

import json
import math
import sys


def leaves(value, shown, path=""):
    """Yields (key, value) down to the keys that the server names."""
    for name, inner in value.items():
        key = f"{path}.{name}" if path else name
        if isinstance(inner, dict) and key not in shown:
            yield from leaves(inner, shown, key)
        else:
            yield key, inner


def same(left, right):
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        # The server keeps sampling values in single precision.
        return math.isclose(left, right, rel_tol=1e-6)
    return left == right


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        written = json.load(file)
    with open(sys.argv[2], encoding="utf-8") as file:
        shown = json.load(file)
    different = [
        f"{key}: wrote {value!r}, read {shown.get(key)!r}"
        for key, value in leaves(written, shown)
        if key not in shown or shown[key]["origin"] != "file" or not same(value, shown[key]["value"])
    ]
    if different:
        sys.exit("\n".join(different))


if __name__ == "__main__":
    main()
