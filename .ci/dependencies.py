#!/usr/bin/env python3
"""Fails if a dependency's licence or source is not allowed, if it builds C code, or if a crate of the interface has two
versions. Reads `cargo metadata` with all features and targets. Usage: dependencies.py, in the repository."""
import json
import re
import subprocess
import sys

LICENCES = {
    "MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib", "Unicode-3.0",
    "MPL-2.0",  # option-ext: conditions on its own files only
    "CDLA-Permissive-2.0",  # webpki-roots: data
}
# Crates that build or link C code, and the crates that may depend on them.
C_BUILDERS = {
    "cc": {"ring", "alloca"},  # TLS; criterion, for benchmarks only
    "cmake": set(), "bindgen": set(), "pkg-config": set(), "vcpkg": set(), "openssl-sys": set(),
    "aws-lc-sys": set(), "native-tls": set(), "onig_sys": set(),
}
# Their types are part of our interface, or large enough that two copies would matter.
SINGLE = {"image", "ndarray", "ort", "ort-sys", "half", "prost", "safetensors", "serde", "serde_json", "tokenizers"}


def allowed(expression):
    """Returns whether an SPDX expression can be met by LICENCES. `/` is Cargo's former `OR`."""
    tokens = re.findall(r"[()]|[\w.+-]+(?: WITH [\w.-]+)?", expression.replace("/", " OR "))
    operators = {"AND": "and", "OR": "or", "(": "(", ")": ")"}
    return eval(" ".join(operators.get(token) or str(token in LICENCES) for token in tokens))  # True, False, and, or, ( and )


def findings(packages, nodes):
    """Yields what is not allowed."""
    versions, names = {}, {package["id"]: package["name"] for package in packages}
    for node in nodes:
        name, used = names[node["id"]], {names[id] for id in node["dependencies"]}
        for builder in used & C_BUILDERS.keys():
            if name not in C_BUILDERS[builder]:
                yield f"{name}: builds C code with {builder}"
    for package in packages:
        name = package["name"]
        versions.setdefault(name, []).append(package["version"])
        if not allowed(package["license"] or "none"):
            yield f"{name}: licence {package['license']}"
    sources = {package["source"] for package in packages if package["source"]}
    if len(sources) > 1 or any(not source.startswith("registry+") for source in sources):
        yield f"sources other than one registry: {', '.join(sorted(sources))}"
    for name in sorted(SINGLE & versions.keys()):
        if len(versions[name]) > 1:
            yield f"{name}: versions {', '.join(versions[name])}"


def main():
    metadata = subprocess.run(["cargo", "metadata", "--format-version", "1", "--all-features", "--locked"],
                              capture_output=True, text=True, check=True).stdout
    metadata = json.loads(metadata)
    packages = metadata["packages"]
    found = list(findings(packages, metadata["resolve"]["nodes"]))
    for line in found:
        print(line)
    print(f"{len(packages)} packages, {len(found)} not allowed")
    sys.exit(bool(found))


main()
