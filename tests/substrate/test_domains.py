"""One brain serves every domain: none of them reaches behind its public primitives."""

import ast

import pytest

from plasticity.companion import paths
from plasticity.substrate import Brain

DOMAINS = paths.ROOT / "lib" / "plasticity" / "substrate" / "domains"
MODULES = sorted(DOMAINS.rglob("*.py"))
# What a domain may import of the substrate beside itself: the brain, and errors of the last hop.
ALLOWED = ("plasticity.substrate", "plasticity.substrate.learning")
INSIDE = {"graph", "store"}  # parts of a brain that are not its surface


def identify(path):
    return path.relative_to(DOMAINS).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_a_domain_imports_the_brain_alone(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("plasticity"):
            own = node.module.startswith("plasticity.substrate.domains")
            assert own or node.module in ALLOWED, f"{identify(path)} imports {node.module}"


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_a_domain_uses_what_is_public(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Attribute):
            continue
        own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        hidden = node.attr.startswith("_") and not node.attr.startswith("__")
        assert own or not hidden, f"{identify(path)} line {node.lineno}: .{node.attr}"
        assert own or node.attr not in INSIDE, f"{identify(path)} line {node.lineno}: .{node.attr}"


def test_domains_that_do_not_know_each_other_share_the_brain():
    users = {
        path.relative_to(DOMAINS).parts[0]
        for path in MODULES
        if "Brain" in path.read_text(encoding="utf-8")
    }
    assert len(users) >= 3
    assert Brain.__module__ == "plasticity.substrate.brain"
    for path in MODULES:
        domain = path.relative_to(DOMAINS).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and "substrate.domains." in node.module:
                other = node.module.split("substrate.domains.")[1].split(".")[0]
                assert other in (domain, "recognition"), f"{identify(path)} imports {other}"
