"""Tests of deploy/kubernetes: valid manifests, which agree with the service, and whose commands work.

There is no cluster here: kubernetes-validate has the schemas of Kubernetes. The two custom resources,
Kustomization and ServiceMonitor, have none there: the tests follow their references instead.
"""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.reaper import ROOT
from session_service.api import contract
from session_service.environment import SettingError
from session_service.server import serve, supervisor
from session_service.settings import Settings
from session_service.storage import connection_budget, erasure_store
from session_service.webhooks import __main__ as webhooks
from session_service.webhooks import endpoints
from tests.conftest import Urls
from tests.support.service import await_serving, free_port, validated_client
from tests.support.uncommenting import uncommented
from tests.support.waiting import LIMIT

FOLDER = ROOT / "deploy" / "kubernetes"


def read_manifests(change: Callable[[str], str] = str) -> dict[str, dict[str, Any]]:
    """Return the manifests of the changed files by kind and name."""
    return {
        f"{one['kind']}/{one.get('metadata', {}).get('name', file.stem)}": one
        for file in sorted(FOLDER.glob("*.yaml"))
        for one in yaml.safe_load_all(change(file.read_text()))
    }


MANIFESTS = read_manifests()
SECRET = f"whsec_{base64.b64encode(bytes(32)).decode()}"
CUSTOM = ("Kustomization", "ServiceMonitor")
WORKLOADS = {
    name: one["spec"]["template"]["spec"]
    for name, one in MANIFESTS.items()
    if "template" in one.get("spec", {})
}
SERVICE = WORKLOADS["Deployment/session-service"]
JOB = WORKLOADS[f"Job/session-service-migrate-{contract.version()}"]
FREE_CONNECTIONS = 97  # of PostgreSQL's default of 100, less the reserved ones


def container(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the only container of a pod."""
    (one,) = pod["containers"]
    return dict(one)


def variables(pod: dict[str, Any]) -> Urls:
    """Return the environment variables of the pod's container."""
    maps = [one["configMapRef"]["name"] for one in container(pod).get("envFrom", [])]
    found = {name: value for each in maps for name, value in MANIFESTS[f"ConfigMap/{each}"]["data"].items()}
    return found | {one["name"]: one["value"] for one in container(pod)["env"]}


def valid(key: str, value: str) -> str:
    """Return a value that the service accepts in the place of the example in secrets.yaml."""
    return "x" * 32 if key == "digest-key" else value.replace("whsec_CHANGE-ME", SECRET)


def mounted(pod: dict[str, Any], folder: Path, change: Callable[[str, str], str] = valid) -> dict[str, str]:
    """Write the pod's secrets, changed, below a folder; return the path of each file by that in the pod."""
    volumes = {one["name"]: one["secret"]["secretName"] for one in pod["volumes"]}
    files = {}
    for mount in container(pod)["volumeMounts"]:
        assert mount["readOnly"]
        for key, value in MANIFESTS[f"Secret/{volumes[mount['name']]}"]["stringData"].items():
            file = folder / mount["mountPath"].strip("/") / key
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(change(key, value))
            files[f"{mount['mountPath']}/{key}"] = str(file)
    return files


def environment(pod: dict[str, Any], folder: Path, change: Callable[[str, str], str] = valid) -> Urls:
    """Return the variables of the container, with the paths of the changed files below the folder."""
    files = mounted(pod, folder, change)
    return {name: files.get(value, value) for name, value in variables(pod).items()}


def documented(page: str, text: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Run the block of commands with kubectl and the text; return what it has applied by kind and name.

    In the place of kubectl is a command that keeps its standard input, of `kubectl apply -f -`.
    """
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if text in block and "kubectl" in block]
    applied, kubectl = folder / "applied.yaml", folder / "kubectl"
    kubectl.write_text(f'#!/bin/sh\n[ "$*" != "apply -f -" ] || cat >>{applied}\n')
    kubectl.chmod(0o755)
    env = {"PATH": f"{folder}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-euc", block], cwd=ROOT, env=env, check=True)
    return {
        f"{one['kind']}/{one['metadata']['name']}": one for one in yaml.safe_load_all(applied.read_text())
    }


def test_each_manifest_is_valid() -> None:
    """Each manifest conforms to the schema of Kubernetes, without unknown fields; two kinds have none."""
    command: list[str | Path] = [
        ROOT / ".venv" / "bin" / "kubernetes-validate",
        "--strict",
        *sorted(FOLDER.glob("*.yaml")),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (ended.stdout + ended.stderr).splitlines()
    assert [line for line in lines if line.startswith("ERROR")] == []
    assert ended.returncode == 0
    assert sum(" passed for resource " in line for line in lines) == len(MANIFESTS) - len(CUSTOM)
    unknown = re.findall(r"Couldn't find schema for kind (\w+)", "\n".join(lines))
    assert sorted(unknown) == sorted(CUSTOM)


def test_the_kustomization_has_files_that_exist() -> None:
    """Its resources exist; it, the images and the name of the Job have the version of the service."""
    custom = MANIFESTS["Kustomization/kustomization"]
    assert all((FOLDER / name).exists() for name in custom["resources"])
    (image,) = custom["images"]
    assert (image["name"], image["newTag"]) == ("session-service", contract.version())
    assert {container(pod)["image"] for pod in WORKLOADS.values()} == {
        f"session-service:{contract.version()}"
    }
    assert f"Job/session-service-migrate-{contract.version()}" in MANIFESTS


def test_the_references_between_manifests() -> None:
    """Selectors select the pods, ports have names that exist, and the autoscaler has the right target."""
    labels = MANIFESTS["Deployment/session-service"]["spec"]["template"]["metadata"]["labels"]
    for name, one in MANIFESTS.items():
        spec = one.get("spec", {})
        if name.startswith("Deployment/"):
            assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
        if name.startswith("Service/"):
            assert spec["selector"] == labels
            assert {port["targetPort"] for port in spec["ports"]} <= _port_names()
    budget, scaler = (
        MANIFESTS["PodDisruptionBudget/session-service"],
        MANIFESTS["HorizontalPodAutoscaler/session-service"],
    )
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert f"Deployment/{scaler['spec']['scaleTargetRef']['name']}" in MANIFESTS
    assert scaler["spec"]["minReplicas"] > budget["spec"]["maxUnavailable"]
    policy = MANIFESTS["NetworkPolicy/session-service"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    open_ports = {port["port"] for rule in policy["ingress"] if "from" not in rule for port in rule["ports"]}
    assert open_ports == {"http"}


def test_the_service_monitor_finds_the_metrics() -> None:
    """It selects the Service with the port of the metrics, under the job that the alerts expect."""
    monitor = MANIFESTS["ServiceMonitor/session-service"]["spec"]
    wanted = monitor["selector"]["matchLabels"].items()
    (found,) = [
        one
        for name, one in MANIFESTS.items()
        if name.startswith("Service/") and wanted <= one["metadata"].get("labels", {}).items()
    ]
    assert {one["port"] for one in monitor["endpoints"]} <= {port["name"] for port in found["spec"]["ports"]}
    assert found["metadata"]["labels"][monitor["jobLabel"]] == "session-service"
    assert 'job="session-service"' in (ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text()


def test_probes_and_ports_are_those_of_the_service(tmp_path: Path) -> None:
    """Each probe asks for a path of the contract, on the port that the settings say."""
    paths = contract.read()["paths"]
    given = container(SERVICE)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert "get" in paths[given[probe]["httpGet"]["path"]]
        assert given[probe]["httpGet"]["port"] == "http"
    settings = Settings.read(environment(SERVICE, tmp_path))
    assert settings.admin is not None
    ports = {port["name"]: port["containerPort"] for port in given["ports"]}
    assert ports == {"http": settings.port, "admin": settings.admin.port}


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_variable_is_a_setting(name: str, tmp_path: Path) -> None:
    """Each variable is a setting, or the file of one; secrets are files, the owner's only of the Job."""
    source = (ROOT / "session_service" / "settings.py").read_text()
    known = set(re.findall(r'"([A-Z_]{4,})"', source))
    given = variables(WORKLOADS[name])
    assert {one if one in known else one.removesuffix("_FILE") for one in given} <= known
    assert not given.keys() & {
        "DATABASE_URL",
        "REDIS_URL",
        "MIGRATION_DATABASE_URL",
        "ERASE_DATABASE_URL",
        "DIGEST_KEY",
    }
    files = mounted(WORKLOADS[name], tmp_path)
    assert {value for value in given.values() if value.startswith("/run/")} <= files.keys()
    assert ("migration" in " ".join(files)) == name.startswith("Job/")


@pytest.mark.parametrize("name", WORKLOADS)
def test_pods_are_restricted(name: str) -> None:
    """A pod has no root, no writable root file system, no capability, no token, and a limit of its memory."""
    pod = WORKLOADS[name]
    user = re.findall(r"^USER (\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert pod["securityContext"]["runAsNonRoot"]
    assert [str(pod["securityContext"]["runAsUser"])] == user
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    given = container(pod)
    assert given["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert given["resources"]["limits"].keys() == {"memory"}
    # 0440: the group of the pod may read them.
    assert {one["secret"]["defaultMode"] for one in pod["volumes"]} == {0o440}


def test_the_grace_period_is_long_enough() -> None:
    """A pod is killed only after the sleep of preStop and the timeout for graceful shutdown."""
    command, seconds = container(SERVICE)["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    shutdown = max(serve.GRACEFUL_TIMEOUT, supervisor.STOP_TIMEOUT)
    assert SERVICE["terminationGracePeriodSeconds"] > int(seconds) + shutdown


def test_the_autoscaler_fits_the_connections() -> None:
    """All pods during an update, the webhooks and the migrations fit into PostgreSQL's default."""
    spec = MANIFESTS["Deployment/session-service"]["spec"]
    pods = (
        MANIFESTS["HorizontalPodAutoscaler/session-service"]["spec"]["maxReplicas"]
        + spec["strategy"]["rollingUpdate"]["maxSurge"]
    )
    each = (
        int(variables(SERVICE)["DATABASE_POOL_SIZE"])
        + connection_budget.HEALTH_CONNECTIONS
        + erasure_store.CONNECTIONS
    )
    assert pods * each + webhooks.POOL_SIZE + 1 + 1 <= FREE_CONNECTIONS
    assert "replicas" not in spec


def test_the_webhooks_of_the_secret_are_valid(tmp_path: Path) -> None:
    """The file of the secret is one that bin/webhooks reads."""
    given = environment(WORKLOADS["Deployment/session-service-webhooks"], tmp_path)
    assert [one.name for one in endpoints.read(Path(given["WEBHOOKS_FILE"]))] == ["grading"]


def test_the_example_secrets_are_refused(tmp_path: Path) -> None:
    """The digest key and the webhook's secret of the example stop the start: they are known to all."""

    def example(_: str, value: str) -> str:
        return value

    with pytest.raises(SettingError, match=r"^DIGEST_KEY must have at least 32 characters$"):
        Settings.read(environment(SERVICE, tmp_path, example))
    given = environment(WORKLOADS["Deployment/session-service-webhooks"], tmp_path, example)
    with pytest.raises(SettingError, match="grading: secrets must be"):
        endpoints.read(Path(given["WEBHOOKS_FILE"]))


def test_erasing_can_be_switched_on() -> None:
    """The lines that are comments give the secret to the pods of the service and to the Job."""
    manifests = read_manifests(uncommented)
    secret = manifests["Secret/session-service"]["stringData"]
    assert secret["erase-database-url"] == secret["database-url"].replace("session_service", "session_eraser")
    for name in ("Deployment/session-service", f"Job/session-service-migrate-{contract.version()}"):
        given = container(manifests[name]["spec"]["template"]["spec"])["env"]
        path = "/run/secrets/session-service/erase-database-url"
        assert {"name": "ERASE_DATABASE_URL_FILE", "value": path} in given


def test_the_alerts_become_a_rule_of_the_operator(tmp_path: Path) -> None:
    """The command of docs/operations.md makes a PrometheusRule with the groups of the alerts."""
    rule = documented("operations.md", "kind: PrometheusRule", tmp_path)["PrometheusRule/session-service"]
    assert rule["apiVersion"] == MANIFESTS["ServiceMonitor/session-service"]["apiVersion"]
    assert rule["metadata"] == {"name": "session-service", "namespace": "session-service"}
    assert rule["spec"] == yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())


def test_the_job_can_run_the_fence(migrated: Urls, tmp_path: Path) -> None:
    """The Job of docs/backup.md has the command of bin/fence, and the URLs that it needs."""
    job = documented("backup.md", "fence_command", tmp_path)["Job/session-service-fence"]
    pod = job["spec"]["template"]["spec"]
    python, *arguments = container(pod)["command"]
    assert python == "python"
    command = [sys.executable, *arguments, "--dry-run"]
    env = _environment(pod, migrated, tmp_path)
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert ended.stdout.startswith("sessions: "), ended.stderr


def test_the_commands_work_in_order(fresh_database: Urls, tmp_path: Path) -> None:
    """The Job migrates, the service is ready at its probes, and webhooks are sent, with files as secrets."""
    job = _environment(JOB, fresh_database, tmp_path / "job")
    python, *arguments = container(JOB)["command"]
    assert python == "python"
    migrated = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=job, capture_output=True, text=True, check=True
    )
    assert migrated.stdout.startswith("applied: ")
    port = free_port()
    # Loopback, and no issuer of tokens.
    given = _environment(SERVICE, fresh_database, tmp_path / "service") | {
        "AUTH": "none",
        "PORT": str(port),
        "ADMIN_HOST": "127.0.0.1",
        "ADMIN_PORT": str(free_port()),
    }
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [sys.executable, "-m", "session_service"], cwd=ROOT, env=given, stdout=subprocess.DEVNULL
    ) as process:
        try:
            await_serving(url, process)
            with validated_client(url) as client:
                for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                    assert client.get(container(SERVICE)[probe]["httpGet"]["path"]).status_code == 200
            _send_webhooks(fresh_database, tmp_path / "webhooks")
            process.terminate()
            assert process.wait(LIMIT) == 0
        finally:
            process.kill()


def _send_webhooks(urls: Urls, folder: Path) -> None:
    """Run the command of the webhooks until it sends them."""
    pod = WORKLOADS["Deployment/session-service-webhooks"]
    python, *arguments = container(pod)["command"]
    assert python == "python"
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=_environment(pod, urls, folder),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            lines = (json.loads(line) for line in process.stdout)
            assert any(line["message"] == "this process sends webhooks to 1 endpoints" for line in lines)
            process.terminate()
            assert process.wait(LIMIT) == 0
        finally:
            process.kill()


def _environment(pod: dict[str, Any], urls: Urls, folder: Path) -> Urls:
    """Return the variables of the pod, with its files below the folder and the test's stores in them."""
    given = environment(pod, folder)
    for name, url in urls.items():
        if f"{name}_FILE" in given:
            Path(given[f"{name}_FILE"]).write_text(url)
    return {"PATH": os.environ["PATH"], **given}


def _port_names() -> set[str]:
    return {port["name"] for port in container(SERVICE)["ports"]}
