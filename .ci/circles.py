#!/usr/bin/env python3
"""Fails if top-level modules of a crate import each other in a circle, directly or through others; prints each import that
is part of one. Reads `use` items and the paths `crate::…`, `super::…` in the code; tests and the crate's root are left out.
Usage: circles.py [CRATE/src …], in the repository."""
import re
import subprocess
import sys
from pathlib import Path

PATH = re.compile(r"\b((?:crate|super)(?:::super)*)::(\w+|\{)")


def module_of(path, root):
    """Returns the module path of a file: `src/a/mod.rs` and `src/a.rs` are `[a]`."""
    parts = list(path.relative_to(root).with_suffix("").parts)
    return parts[:-1] if parts[-1] in ("mod", "lib", "main") else parts


def code_of(path):
    """Returns a file's lines without comments and without the tests at its end."""
    code = re.split(r"#\[cfg\(test\)\]\s*(?:#\[.*\]\s*)?mod tests \{", path.read_text(encoding="utf-8"))[0]
    return re.sub(r"//.*", "", code)


def group(code, start):
    """Returns the first names in the braces that open before `start`: of `{a::B, c::{D, E}}`, `a` and `c`."""
    names, depth = [], 1
    for token in re.finditer(r"\{|\}|,|\w+", code[start:]):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            break
        if depth == 1 and token[0].isidentifier() and code[:start + token.start()].rstrip()[-1] in "{,":
            names.append(token[0])
    return names


def imports(path, root, exports):
    """Yields (line, top-level module) for each path in a file that leads into another top-level module."""
    code, module = code_of(path), module_of(path, root)
    for found in PATH.finditer(code):
        prefix, name = found[1], found[2]
        depth = 0 if prefix.startswith("crate") else len(module) - prefix.count("super")
        names = group(code, found.end()) if name == "{" else [name]
        for name in names if depth <= 0 else module[:1]:
            yield code.count("\n", 0, found.start()) + 1, exports.get(name, name)


def circles(root):
    """Yields (path, line, from, to) for each import between modules that lead to each other."""
    files = [Path(name) for name in subprocess.run(
        ["git", "ls-files", f"{root}/*.rs"], capture_output=True, text=True, check=True).stdout.split()]
    files = [path for path in files if path.name != "tests.rs" and "tests" not in path.parts]
    modules = {module_of(path, root)[0] for path in files if module_of(path, root)}
    exports = {}
    for path in (path for path in files if not module_of(path, root)):
        for module, names in re.findall(r"use (?:crate::)?(\w+)::([^;]+);", code_of(path)):
            exports |= {name: module for name in re.findall(r"\w+", names) if module in modules}
    edges = [
        (path, line, module[0], target)
        for path in files if (module := module_of(path, root))
        for line, target in imports(path, root, exports) if target in modules - {module[0]}
    ]
    leads = {module: {to for *_, source, to in edges if source == module} for module in modules}
    for _ in modules:  # Transitive closure.
        leads = {module: to | {far for near in to for far in leads[near]} for module, to in leads.items()}
    return [edge for edge in edges if edge[2] in leads[edge[3]]]


def main():
    roots = sys.argv[1:] or subprocess.run(
        ["git", "ls-files", "*src/lib.rs", "*src/main.rs"], capture_output=True, text=True, check=True).stdout.split()
    found = [edge for root in sorted({Path(root).parent if root.endswith(".rs") else Path(root) for root in roots})
             for edge in circles(root)]
    for path, line, source, target in found:
        print(f"{path}:{line}: {source} -> {target}")
    print(f"{len(found)} imports in circles")
    sys.exit(bool(found))


main()
