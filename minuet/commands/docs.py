"""`minuet docs`: writes the reference pages that are made from code, or checks that they are current."""

import argparse
import sys
from pathlib import Path
from typing import Any

from minuet.reference.pages import PAGES

_FOLDER = Path("docs")


def add(commands: Any) -> None:
    parser = commands.add_parser("docs", help="write the generated pages in docs/ (in a checkout)")
    parser.add_argument("--check", action="store_true", help="only say which pages are stale")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    stale = []
    for name, make in PAGES.items():
        path, text = _FOLDER / name, make()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not options.check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if options.check and stale:
        print(f"minuet: stale, run `python -m minuet docs`: {', '.join(stale)}", file=sys.stderr)
        return 1
    print(f"{'checked' if options.check else 'wrote'} {', '.join(PAGES)}")
    return 0
