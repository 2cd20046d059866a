"""Run benchmarks: all of them, or one with options of its own."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

import figures

HERE = Path(__file__).parent
NAMES = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description="Figures, by name.")
    chosen = parser.add_subparsers(dest="name", metavar="NAME", help="default: all of them")
    for name in NAMES:
        module = importlib.import_module(f"bench_{name}")
        help_ = (module.__doc__ or "").splitlines()[0]
        module.arguments(chosen.add_parser(name, help=help_, description=help_))
    given = sys.argv[1:]
    for name in NAMES if not given else [""]:
        options = parser.parse_args([name] if name else given)
        module = importlib.import_module(f"bench_{options.name}")
        figures.save(HERE / "results", options.name, module.run(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
