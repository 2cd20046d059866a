"""The protocol stays cheap to import and knows nothing of the rest."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import importlib, importlib.util, pkgutil, sys, types
# The package itself re-exports everything: put an empty one in its place.
package = types.ModuleType("cnidaria")
package.__path__ = importlib.util.find_spec("cnidaria").submodule_search_locations
sys.modules["cnidaria"] = package
import msgspec, msgspec.inspect
before = set(sys.modules)
import cnidaria.cni
for found in pkgutil.iter_modules(cnidaria.cni.__path__, "cnidaria.cni."):
    importlib.import_module(found.name)
print(*sorted(set(sys.modules) - before))
"""


def test_what_importing_brings_in() -> None:
    command = [sys.executable, "-c", SCRIPT]
    found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    others = {name for name in found.stdout.split() if not name.startswith("cnidaria.cni")}
    assert others <= {"ipaddress", "cnidaria"}
