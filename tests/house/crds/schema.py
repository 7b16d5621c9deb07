"""KubeRay's resource definitions as JSON schemas that know no other keys than theirs.

`python -m tests.house.crds.schema CRD.yaml VERSION` makes the slim copy that lies beside this file.
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
RAYSERVICE = HERE / "rayservice-v1.json.gz"
# What validates nothing, or what only the server can validate (CEL rules).
_LEFT_OUT = {"description", "default", "format", "x-kubernetes-validations", "x-kubernetes-list-type"} | {
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
}


def v1_schema(crd: dict[str, Any]) -> dict[str, Any]:
    """The openAPIV3Schema of a CustomResourceDefinition's version v1, as Kubernetes has it."""
    version = next(each for each in crd["spec"]["versions"] if each["name"] == "v1")
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def slim(node: Any, *, names: bool = False) -> Any:
    """The schema without what validates nothing. `names`: the keys of `node` are field names, not keywords."""
    match node:
        case dict():
            return {
                key: slim(value, names=key == "properties" and not names)
                for key, value in node.items()
                if names or key not in _LEFT_OUT
            }
        case list():
            return [slim(each) for each in node]
        case _:
            return node


def strict(node: Any, *, names: bool = False) -> Any:
    """A Kubernetes schema as a JSON schema in which an unknown key is an error.

    The API server prunes unknown keys in silence, so a misspelt one would be accepted and do nothing.
    """
    if not isinstance(node, dict):
        return node
    if names:
        return {key: strict(value) for key, value in node.items()}
    if node.get("x-kubernetes-int-or-string"):
        # JSON Schema asks the pattern of texts only.
        return {"type": ["integer", "string"], **{key: node[key] for key in ("pattern",) if key in node}}
    made = {
        key: strict(value, names=key == "properties")
        for key, value in node.items()
        if not key.startswith("x-kubernetes-")
    }
    if "properties" in made and not node.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


def read(path: Path) -> dict[str, Any]:
    """The schema of a slim copy (.json.gz) or of a CustomResourceDefinition (.yaml)."""
    if path.suffix == ".gz":
        schema: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))["schema"]
        return schema
    return v1_schema(yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def _write_copy(source: Path, version: str) -> None:
    origin = f"{source.name} of KubeRay {version}, github.com/ray-project/kuberay, Apache-2.0; see NOTICE"
    copy = {"origin": origin, "schema": slim(read(source))}
    # Without a time inside, the same input makes the same bytes.
    RAYSERVICE.write_bytes(gzip.compress(json.dumps(copy, separators=(",", ":")).encode(), mtime=0))


if __name__ == "__main__":
    _write_copy(Path(sys.argv[1]), sys.argv[2])
