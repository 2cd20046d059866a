"""What ``help`` shows of the core is what its stub says."""

import ast
import inspect
from pathlib import Path

import cnidaria_core
import pytest

STUB = ast.parse((Path(cnidaria_core.__file__).parent / "_core.pyi").read_text())
CLASSES = {
    one.name: one
    for one in STUB.body
    if isinstance(one, ast.ClassDef) and hasattr(cnidaria_core, one.name)
}


@pytest.mark.parametrize("name", CLASSES)
def test_docstrings_are_those_of_the_stub(name: str) -> None:
    stub, real = CLASSES[name], getattr(cnidaria_core, name)
    methods = [one for one in stub.body if isinstance(one, ast.FunctionDef)]
    told = {one.name: ast.get_docstring(one) for one in methods}
    parts = [ast.get_docstring(stub), told.pop("__new__", None)]
    assert inspect.getdoc(real) == "\n\n".join(part for part in parts if part)
    for method, text in told.items():
        if text and not method.startswith("__"):  # those are Python's own
            assert inspect.getdoc(getattr(real, method)) == text


def test_there_are_classes() -> None:
    assert {"AddressPool", "BlockPool", "PolicyEngine", "RouteTable"} <= CLASSES.keys()
