"""The manifest and the Dockerfile keep what KubeRay, Ray Serve and Sentinel's own settings ask of them."""

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import ray
import yaml
from jsonschema import Draft7Validator
from pydantic import BaseModel
from ray.serve.schema import ServeDeploySchema

from sentinel.errors import Invalid
from sentinel.settings import Settings
from sentinel.settings_loader import load
from serve_apps.app import APP_NAME
from tests.house.crds.schema import RAYSERVICE, read, slim, strict

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "cluster" / "rayservice.yaml"
DOCKERFILE = ROOT / "cluster" / "Dockerfile"
# The definition itself, where a checkout has KubeRay's files beside it; the copy here is made from it.
BESIDE = ROOT.parent / "shared" / "crds" / "ray.io_rayservices.yaml"
SOURCES = [RAYSERVICE, *([BESIDE] if BESIDE.is_file() else [])]
CORE_KEYS = {
    "ServiceAccount": {"apiVersion", "kind", "metadata", "automountServiceAccountToken"},
    "ConfigMap": {"apiVersion", "kind", "metadata", "data"},
}
SECRETS = {
    "SENTINEL_STORE_URL": "postgresql+psycopg://sentinel:dummy@postgres.example.com/sentinel?sslmode=verify-full",
    "SENTINEL_QDRANT_API_KEY": "dummy",
    "SENTINEL_SLACK_BOT_TOKEN": "xoxb-dummy",
    "SENTINEL_SLACK_SIGNING_SECRET": "dummy",
    "SENTINEL_SLACK_VALUE_KEY": "dummy-of-32-characters-at-least.",
    "TELEMETRY_KEY_SHA256": "a" * 64,
    "ONCALL_KEY_SHA256": "b" * 64,
    "ADMIN_KEY_SHA256": "c" * 64,
}
SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|API_KEY|VALUE_KEY|STORE_URL|SHA256|AWS_ACCESS")

Tree = dict[str, Any]


def documents() -> list[Tree]:
    return list(yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")))


def one(kind: str, name: str = "") -> Tree:
    """The only document of its kind, or the one of that name."""
    found = [each for each in documents() if each["kind"] == kind and name in ("", each["metadata"]["name"])]
    assert len(found) == 1
    return found[0]


def pods(service: Tree) -> dict[str, Tree]:
    """The pod specs of the cluster by the name of their group."""
    cluster = service["spec"]["rayClusterConfig"]
    groups = {"head": cluster["headGroupSpec"]}
    groups |= {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    return {name: group["template"]["spec"] for name, group in groups.items()}


def environment(pod: Tree) -> dict[str, Tree]:
    return {each["name"]: each for each in pod["containers"][0].get("env", [])}


def serve_config(service: Tree) -> Tree:
    config: Tree = yaml.safe_load(service["spec"]["serveConfigV2"])
    return config


def schema_errors(service: Tree, source: Path = RAYSERVICE) -> list[str]:
    validator = Draft7Validator(strict(read(source)))
    # The API server's own fields are open in the definition: here only what the manifest uses is known.
    errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(service)]
    return errors + [
        f"$.metadata: {key}" for key in service["metadata"] if key not in ("name", "annotations", "labels")
    ]


def operator_errors(service: Tree) -> list[str]:
    """What KubeRay's operator refuses although the schema allows it (its validation.go, release 1.7)."""
    cluster, found = service["spec"]["rayClusterConfig"], []
    name = service["metadata"]["name"]
    if len(name) > 47 or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        found.append("the name is no DNS-1035 label of at most 47 characters")
    if cluster.get("authOptions", {}).get("mode") == "token":
        version = tuple(int(part) for part in cluster.get("rayVersion", "0").split("."))
        if version < (2, 52, 0):
            found.append("token authentication needs a rayVersion from 2.52.0")
    for group in cluster["workerGroupSpecs"]:
        if not cluster.get("enableInTreeAutoscaling") and not {"minReplicas", "maxReplicas"} <= group.keys():
            found.append(f"{group['groupName']}: without the autoscaler minReplicas and maxReplicas are required")
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        if "labels" in group["rayStartParams"]:
            found.append("labels are not for rayStartParams")
        if not all(isinstance(value, str) for value in group["rayStartParams"].values()):
            found.append("rayStartParams are texts")
        if group.get("resources") and {"num-cpus", "num-gpus", "memory", "resources"} & group["rayStartParams"].keys():
            found.append("resources are given twice")
    return found


def unknown_keys(model: type[BaseModel], data: object, where: str = "") -> Iterator[str]:
    """Keys of `data` that the model has no field for. Ray's own models take any key in silence."""
    if isinstance(data, list):
        for each in data:
            yield from unknown_keys(model, each, where)
    if not isinstance(data, dict):
        return
    for key, value in data.items():
        if key not in model.model_fields:
            yield f"{where}{key}"
        elif (inner := _model_in(model.model_fields[key].annotation)) is not None:
            yield from unknown_keys(inner, value, f"{where}{key}.")


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _model_in(each)) is not None), None)


def settings_of(config_map: Tree, tmp_path: Path, environ: Mapping[str, str]) -> Settings:
    path = tmp_path / "sentinel.yaml"
    path.write_text(config_map["data"]["sentinel.yaml"], encoding="utf-8")
    return load({**environ, "SENTINEL_CONFIG": str(path)})


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.suffix)
def test_the_rayservice_is_one_to_the_letter(source: Path):
    assert schema_errors(one("RayService"), source) == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.suffix)
def test_the_copy_is_the_definition_made_slim(source: Path):
    assert slim(read(source)) == read(RAYSERVICE)


def misspelt(tree: Tree, *path: str | int, new: str) -> Tree:
    """The tree with the key at the end of `path` named `new`."""
    changed = copy.deepcopy(tree)
    at: Any = changed
    for key in path[:-1]:
        at = at[key]
    at[new] = at.pop(path[-1])
    return changed


HEAD = ("spec", "rayClusterConfig", "headGroupSpec", "template", "spec")


@pytest.mark.parametrize(
    ("path", "new"),
    [
        (("spec", "excludeHeadPodFromServeSvc"), "excludeHeadFromServeSvc"),
        (("spec", "rayClusterConfig", "authOptions", "secretName"), "secret"),
        ((*HEAD, "enableServiceLinks"), "enableServiceLink"),
        ((*HEAD, "containers", 0, "securityContext", "readOnlyRootFilesystem"), "readOnlyRootFileSystem"),
        ((*HEAD, "containers", 0, "readinessProbe", "httpGet"), "http"),
        (("metadata", "name"), "nome"),
    ],
)
def test_a_misspelt_key_is_seen(path, new):
    assert any(new in error for error in schema_errors(misspelt(one("RayService"), *path, new=new)))


def test_a_wrong_type_is_seen():
    service = one("RayService")
    service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["replicas"] = "2"
    service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"]["limits"] = {
        "memory": "8 gigabytes"
    }
    found = schema_errors(service)
    assert any("replicas" in error for error in found)
    assert any("8 gigabytes" in error for error in found)


def test_the_operator_takes_it():
    service = one("RayService")
    assert operator_errors(service) == []
    service["metadata"]["name"] = "x" * 48
    cluster = service["spec"]["rayClusterConfig"]
    del cluster["rayVersion"], cluster["workerGroupSpecs"][0]["minReplicas"]
    cluster["headGroupSpec"]["rayStartParams"] |= {"labels": "a=b", "num-gpus": 0}
    assert len(operator_errors(service)) == 5


def test_the_other_documents_use_known_keys_and_are_the_ones_that_are_named():
    for document in documents():
        assert set(document) <= CORE_KEYS.get(document["kind"], set(document)), document["kind"]
    specs = pods(one("RayService"))
    accounts = {each["metadata"]["name"] for each in documents() if each["kind"] == "ServiceAccount"}
    assert {pod["serviceAccountName"] for pod in specs.values()} == accounts
    volumes = [volume for pod in specs.values() for volume in pod["volumes"] if "configMap" in volume]
    assert [each["configMap"]["name"] for each in volumes] == [one("ConfigMap")["metadata"]["name"]]


def test_only_the_workers_have_the_role_on_aws():
    annotated = {
        each["metadata"]["name"]: each["metadata"].get("annotations", {})
        for each in documents()
        if each["kind"] == "ServiceAccount"
    }
    assert "eks.amazonaws.com/role-arn" in annotated["sentinel-worker"]
    assert annotated["sentinel-head"] == {}


def test_no_secret_is_in_the_manifest():
    for pod in pods(one("RayService")).values():
        for name, entry in environment(pod).items():
            if SECRET_NAME.search(name):
                assert set(entry) == {"name", "valueFrom"}, name
                assert set(entry["valueFrom"]) == {"secretKeyRef"}, name
    referenced = {
        name for name, entry in environment(pods(one("RayService"))["workers"]).items() if "valueFrom" in entry
    }
    assert referenced == set(SECRETS)
    assert not re.search(
        r"xox[abp]-|AKIA[0-9A-Z]{16}|-----BEGIN|\b[0-9a-f]{64}\b|://[^/\s:]+:[^@\s]+@", MANIFEST.read_text()
    )


def test_every_pod_is_held_to_the_least():
    for name, pod in pods(one("RayService")).items():
        container = pod["containers"][0]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] == 10001, name
        assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
        assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert {"requests", "limits"} == container["resources"].keys(), name
        assert {"readinessProbe", "livenessProbe"} <= container.keys(), name
        # Ray, HAProxy and Sentinel write there and nowhere else.
        mounts = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert mounts == {"/tmp", "/var/lib/sentinel"}, name
        assert environment(pod)["RAY_AUTH_MODE"]["value"] == "token", name
        # A Service named sentinel-… would otherwise set variables that the settings refuse.
        assert pod["enableServiceLinks"] is False, name


def test_the_variables_of_a_service_link_would_be_refused():
    with pytest.raises(Invalid, match="SENTINEL_HEAD_SVC_SERVICE_HOST"):
        load({"SENTINEL_HEAD_SVC_SERVICE_HOST": "10.0.0.1"})


def test_ray_is_the_version_of_the_lock_file():
    cluster = one("RayService")["spec"]["rayClusterConfig"]
    assert cluster["rayVersion"] == ray.__version__
    assert f"\nray=={ray.__version__} " in (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_head_and_workers_agree_on_how_serve_is_run():
    head, workers = (environment(pods(one("RayService"))[name]) for name in ("head", "workers"))
    shared = {name for name in head if name.startswith("RAY_SERVE_")}
    assert len(shared) == 3
    assert {name: head[name]["value"] for name in shared} == {name: workers[name]["value"] for name in shared}


def test_the_serve_config_is_one_to_the_letter():
    config = serve_config(one("RayService"))
    ServeDeploySchema.model_validate(config)
    assert list(unknown_keys(ServeDeploySchema, config)) == []
    assert config["http_options"] == {"host": "0.0.0.0", "port": 8000}
    application = config["applications"][0]
    assert (application["name"], application["route_prefix"]) == (APP_NAME, "/")
    assert application["import_path"] == "serve_apps.app:app"


@pytest.mark.parametrize(
    ("path", "new"),
    [
        (("http_options",), "http_option"),
        (("http_options", "port"), "prot"),
        (("applications", 0, "route_prefix"), "route"),
        (("applications", 0, "deployments", 0, "max_replicas_per_node"), "max_replica_per_node"),
    ],
)
def test_a_misspelt_key_of_the_serve_config_is_seen(path, new):
    config = misspelt(serve_config(one("RayService")), *path, new=new)
    assert [found.rpartition(".")[2] for found in unknown_keys(ServeDeploySchema, config)] == [new]


def test_every_worker_has_a_door():
    service = one("RayService")
    groups = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    [deployment] = serve_config(service)["applications"][0]["deployments"]
    assert len(groups) == 1
    assert service["spec"]["rayClusterConfig"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert deployment["num_replicas"] == groups[0]["replicas"] == groups[0]["maxReplicas"]
    assert deployment["max_replicas_per_node"] == 1


def test_the_settings_load_with_the_secrets_of_the_environment(tmp_path: Path):
    settings = settings_of(one("ConfigMap"), tmp_path, SECRETS)
    assert settings.store.url == SECRETS["SENTINEL_STORE_URL"]
    assert (settings.qdrant.host, settings.qdrant.https) == ("qdrant.example.com", True)
    assert settings.slack.active
    assert settings.executor.backend == "aws"
    assert settings.executor.dry_run, "a first deployment only rehearses"
    assert settings.executor.aws_ecs_cluster_whitelist
    assert [key.name for key in settings.api.keys] == ["telemetry", "oncall", "admin"]
    assert [key.name for key in settings.api.keys if "admin" in key.scopes] == ["admin"], "somebody must resume"
    assert settings.approval.approvers
    assert Path(settings.detection.checkpoint_path).is_relative_to("/var/lib/sentinel")


@pytest.mark.parametrize("missing", ["TELEMETRY_KEY_SHA256", "ONCALL_KEY_SHA256", "ADMIN_KEY_SHA256"])
def test_without_a_key_the_settings_do_not_load(tmp_path: Path, missing: str):
    environ = {name: value for name, value in SECRETS.items() if name != missing}
    with pytest.raises(Invalid, match=missing):
        settings_of(one("ConfigMap"), tmp_path, environ)


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile in order, continued lines joined, comments left out."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def docker_errors(text: str) -> list[str]:
    found, user, entrypoint = [], "root", ""
    for word, rest in instructions(text):
        match word:
            case "FROM":
                user = "root"
                if not re.match(r"[a-z/]+:[\w.-]*\d+\.\d+[\w.-]*(\s|$)", rest):
                    found.append(f"the base is not pinned: {rest}")
            case "USER":
                user = rest
            case "ENTRYPOINT":
                entrypoint = rest
            case "ADD":
                found.append("COPY does all that is needed; ADD fetches and unpacks")
            case "ENV" | "ARG" if SECRET_NAME.search(rest):
                found.append(f"a secret in the image: {rest}")
            case "ENV" if "PYTHONDONTWRITEBYTECODE" in rest:
                found.append("without bytecode every start takes twice as long")
            case "RUN" if "pip install" in rest and not {"--require-hashes", "--no-cache-dir"} <= set(rest.split()):
                found.append("pip installs what no hash is known of")
            case "RUN" if re.search(r"curl|https?://", rest):
                found.append(f"a download that is not locked: {rest}")
            case "COPY" if rest.split()[0] == ".":
                found.append("the whole working tree is copied")
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", user):
        found.append(f"the image runs as {user}, which Kubernetes cannot tell from root")
    if "tini" not in entrypoint:
        found.append("nothing reaps what is left")
    return found


def test_the_image_keeps_the_rules():
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert docker_errors(text) == []
    words = " ".join(rest for word, rest in instructions(text) if word == "RUN")
    assert all(f" {tool} " in f"{words} " for tool in ("bash", "grep", "wget", "tini", "compileall"))
    assert ("USER", "10001:10001") in instructions(text)
    assert any(word == "ENV" and "RAY_AUTH_MODE=token" in rest for word, rest in instructions(text))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda text: text.replace("USER 10001:10001", "USER sentinel"), "runs as"),
        (lambda text: text.replace("USER 10001:10001", ""), "runs as root"),
        (lambda text: text.replace("--require-hashes", ""), "no hash"),
        (lambda text: text.replace("python:3.11.14-slim-trixie", "python:slim"), "not pinned"),
        (lambda text: text.replace("COPY LICENSE", "ADD https://example.com/x"), "ADD"),
        (
            lambda text: text.replace("COPY sentinel /opt/sentinel/sentinel", "COPY . /opt/sentinel"),
            "whole working tree",
        ),
        (lambda text: text.replace("HOME=", "SENTINEL_SLACK_BOT_TOKEN=x HOME="), "a secret"),
        (lambda text: text.replace("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"), "bytecode"),
        (lambda text: text.replace('ENTRYPOINT ["tini", "--"]', ""), "reaps"),
    ],
)
def test_a_breach_in_the_dockerfile_is_seen(change: Callable[[str], str], complaint: str):
    found = docker_errors(change(DOCKERFILE.read_text(encoding="utf-8")))
    assert any(complaint in each for each in found)


def test_what_is_copied_exists_and_is_not_ignored():
    allowed = [
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"
    ]
    copied = [
        source
        for word, rest in instructions(DOCKERFILE.read_text(encoding="utf-8"))
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    assert sorted(copied) == sorted(allowed)
    assert [source for source in copied if not (ROOT / source).exists()] == []
