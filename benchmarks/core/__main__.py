"""Run the core's benchmarks: all of them, or one with options of its own."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"
NAMES = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
sys.path.append(str(HERE.parent))


def main() -> int:
    import figures

    parser = argparse.ArgumentParser(prog="benchmarks/core", description="Figures, by name.")
    chosen = parser.add_subparsers(dest="name", metavar="NAME", help="default: all of them")
    for name in NAMES:
        module = importlib.import_module(f"bench_{name}")
        help_ = (module.__doc__ or "").splitlines()[0]
        module.arguments(chosen.add_parser(name, help=help_, description=help_))
    given = sys.argv[1:]
    RESULTS.mkdir(exist_ok=True)
    for name in NAMES if not given else [""]:
        options = parser.parse_args([name] if name else given)
        module = importlib.import_module(f"bench_{options.name}")
        figures.save(RESULTS, f"core-{options.name}", module.run(options, RESULTS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
