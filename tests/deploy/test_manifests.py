"""What is shipped for engines and service managers agrees with the settings and with itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.dockerfile import Stage, in_context, stages
from stream_proxy.app import check_exposure
from stream_proxy.cli.serve import files_needed
from stream_proxy.config.load import load
from stream_proxy.config.schema import Settings
from stream_proxy.errors import SettingsError

_PROJECT = Path(__file__).resolve().parents[2]
_DEPLOY = _PROJECT / "deploy"
_UNIT = _DEPLOY / "systemd/alpaca-stream-proxy.service"
_DEFAULTS = Settings()
_PORTS = {
    "streams": _DEFAULTS.port,
    "http": _DEFAULTS.http_port,
    "metrics": _DEFAULTS.metrics_port,
    "grpc": _DEFAULTS.grpc_port,
}
_CLOSING_SECONDS = 15
"""What ending may take besides the drain: closing handshakes with Alpaca, and the journal."""
_ENOUGH_SECONDS = _DEFAULTS.drain_seconds + _CLOSING_SECONDS
_SECRETS = {
    "ALPACA_KEY": "PKTESTKEY",
    "ALPACA_SECRET": "a-secret-of-the-account",
    "ALPACA_LIVE_API_KEY": "AKTESTKEY",
    "ALPACA_LIVE_SECRET_KEY": "a-secret-of-the-account",
    "STREAM_PROXY_ACCESS_TOKENS": '[{"name":"bots","key":"bots","secret":"sixteen-and-more"}]',
    "STREAM_PROXY_FEED": "iex",
    "STREAM_PROXY_FEEDS": "iex",
}


@pytest.fixture(scope="module")
def dockerfile() -> list[Stage]:
    return stages((_PROJECT / "Dockerfile").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return _yaml(_DEPLOY / "compose.yaml")[0]


@pytest.fixture(scope="module")
def kubernetes() -> dict[str, Any]:
    """The documents by their kind."""
    folder = _DEPLOY / "kubernetes"
    documents = [document for path in folder.iterdir() for document in _yaml(path)]
    kinds = {document["kind"]: document for document in documents}
    assert len(kinds) == len(documents)
    return kinds


def _yaml(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def _lint(tool: str, *arguments: str) -> str:
    """Run a checker, which CI must have; give what it remarks upon what it accepts."""
    found = shutil.which(tool, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        print(f"\n*** {tool} is missing: what it checks is left out ***", file=sys.__stdout__)
        assert not os.environ.get("CI"), f"CI must have {tool}"
        pytest.skip(f"{tool} is not installed")
    done = subprocess.run([found, *arguments], capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr
    return done.stderr


# Dockerfile


def test_hadolint_finds_nothing_in_the_dockerfile():
    _lint("hadolint", str(_PROJECT / "Dockerfile"))


def test_both_stages_have_the_same_python(dockerfile: list[Stage]):
    first, last = (stage.base.removeprefix("python:") for stage in dockerfile)
    assert first.replace("-", "-slim-") == last
    version = tuple(map(int, first.partition("-")[0].split(".")))
    assert version >= (3, 11)


def test_the_image_exposes_the_ports_of_the_settings(dockerfile: list[Stage]):
    assert dockerfile[-1].only("EXPOSE").rest == " ".join(map(str, _PORTS.values()))
    assert f":{_PORTS['http']}/healthz" in dockerfile[-1].health_check()[-1]


def test_the_image_runs_as_nobody_by_number(dockerfile: list[Stage]):
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", dockerfile[-1].only("USER").rest)


def test_the_image_keeps_its_state_in_its_volume(dockerfile: list[Stage]):
    image = dockerfile[-1]
    settings = load(image.environment({"PATH": ""}) | _SECRETS, env_file=None).settings
    assert str(settings.state_dir) == image.only("VOLUME").rest == image.only("WORKDIR").rest


def test_nothing_private_is_sent_to_the_engine():
    ignore = (_PROJECT / ".dockerignore").read_text(encoding="utf-8")
    for private in (".env", "deploy/.env", ".git/config", "src/x/__pycache__/a.pyc", "src/x/a.so"):
        assert not in_context(ignore, Path(private)), private
    for needed in ("src/stream_proxy/app.py", "pyproject.toml", "locks/run.txt"):
        assert in_context(ignore, Path(needed)), needed


# Compose


def test_containers_of_ours_have_no_rights(compose: dict[str, Any]):
    ours = {n: s for n, s in compose["services"].items() if s["image"] == "alpaca-stream-proxy"}
    assert set(ours) == {"live", "demo", "demo-alpaca", "demo-reader"}
    for service in ours.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "/tmp" in service["tmpfs"]


def test_images_of_others_have_a_version(compose: dict[str, Any]):
    for service in compose["services"].values():
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]) or "build" in service


def test_published_ports_are_ours_and_on_loopback(compose: dict[str, Any]):
    for name, service in compose["services"].items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
    for name in ("live", "demo"):
        inner = {int(port.rpartition(":")[2]) for port in compose["services"][name]["ports"]}
        assert inner == set(_PORTS.values()) - {_PORTS["metrics"]}


def test_the_environment_of_compose_is_understood(compose: dict[str, Any], dockerfile: list[Stage]):
    image = dockerfile[-1].environment({"PATH": ""})
    for name in ("live", "demo"):
        given = compose["services"][name]["environment"]
        environment = {k: _SECRETS[k] if v is None else v for k, v in given.items()}
        loaded = load(image | environment, env_file=None)
        check_exposure(loaded.settings)
        assert not loaded.remarks


def test_without_a_token_the_live_service_would_not_start(
    compose: dict[str, Any], dockerfile: list[Stage]
):
    given = compose["services"]["live"]["environment"]
    environment = {k: v for k, v in given.items() if v is not None}
    settings = load(dockerfile[-1].environment({"PATH": ""}) | environment, env_file=None).settings
    with pytest.raises(SettingsError):
        check_exposure(settings)


def test_live_and_demo_may_close_their_streams(compose: dict[str, Any]):
    for name in ("live", "demo"):
        grace = compose["services"][name]["stop_grace_period"]
        assert int(grace.removesuffix("s")) >= _ENOUGH_SECONDS


def test_what_compose_mounts_is_there(compose: dict[str, Any], dockerfile: list[Stage]):
    for service in compose["services"].values():
        for source, target, *_ in (v.split(":") for v in service.get("volumes", ())):
            assert source in compose["volumes"] or (_DEPLOY / source).exists(), source
            assert target.startswith("/")
    (state,) = compose["services"]["live"]["volumes"]
    assert state.split(":")[1] == dockerfile[-1].only("VOLUME").rest
    assert any(t.startswith(state.split(":")[1]) for t in compose["services"]["demo"]["tmpfs"])


def test_prometheus_scrapes_whichever_proxy_runs(compose: dict[str, Any]):
    (scrape,) = _yaml(_DEPLOY / "prometheus/prometheus.yml")[0]["scrape_configs"]
    ((target,),) = (config["targets"] for config in scrape["static_configs"])
    host, _, port = target.partition(":")
    assert int(port) == _PORTS["metrics"]
    for name in ("live", "demo"):
        assert compose["services"][name]["networks"]["default"]["aliases"] == [host]


def test_promtool_accepts_the_configuration():
    _lint("promtool", "check", "config", str(_DEPLOY / "prometheus/prometheus.yml"))


def test_grafana_finds_its_data_and_its_dashboards(compose: dict[str, Any]):
    provisioning = _DEPLOY / "grafana/provisioning"
    (source,) = _yaml(provisioning / "datasources/prometheus.yaml")[0]["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (files,) = _yaml(provisioning / "dashboards/files.yaml")[0]["providers"]
    grafana = compose["services"]["grafana"]
    mounted = {v.split(":")[1]: _DEPLOY / v.split(":")[0] for v in grafana["volumes"]}
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == files["options"]["path"]
    dashboard = json.loads((mounted[str(home.parent)] / home.name).read_text(encoding="utf-8"))
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["query"] == source["type"]
    assert variables["datasource"]["current"]["value"] == source["uid"]


# docs/deploy.md


def test_the_examples_of_the_page_load(tmp_path: Path):
    page = (_PROJECT / "docs/deploy.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^ *```toml\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL)
    (lines,) = re.findall(r"^(ALPACA_KEY=.*?)^```", page, re.MULTILINE | re.DOTALL)
    settings, variables = tmp_path / "settings.toml", tmp_path / ".env"
    settings.write_text(table)
    variables.write_text(lines)
    for loaded in (
        load({"STREAM_PROXY_HOST": "0.0.0.0"}, env_file=None, config_file=settings),
        load({"STREAM_PROXY_HOST": "0.0.0.0"}, env_file=variables),
    ):
        check_exposure(loaded.settings)
        assert loaded.settings.key is not None


# systemd


def _directives() -> list[tuple[str, str]]:
    lines = _UNIT.read_text(encoding="utf-8").splitlines()
    return [(n, v) for n, _, v in (line.partition("=") for line in lines) if re.match(r"\w+$", n)]


def test_systemd_accepts_the_service_and_calls_it_safe(tmp_path: Path):
    unit = tmp_path / _UNIT.name
    # Nothing is installed where the unit expects it; a program that is here takes its place.
    program = next(value.split()[0] for name, value in _directives() if name == "ExecStart")
    unit.write_text(_UNIT.read_text(encoding="utf-8").replace(program, sys.executable))
    assert not _lint("systemd-analyze", "verify", "--man=no", str(unit))
    _lint("systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit))


def test_the_environment_of_the_service_is_understood():
    text = [v.replace("%S", "/var/lib") for n, v in _directives() if n == "Environment"]
    variables = dict(value.split("=", 1) for value in text)
    settings = load(variables | _SECRETS, env_file=None).settings
    state = dict(_directives())["StateDirectory"]
    assert settings.state_dir == Path("/var/lib", state)


def test_the_service_has_time_and_files_enough():
    directives = dict(_directives())
    assert int(directives["TimeoutStopSec"]) >= _ENOUGH_SECONDS
    assert int(directives["LimitNOFILE"]) >= files_needed(_DEFAULTS)


# Kubernetes


def test_one_pod_at_a_time(kubernetes: dict[str, Any]):
    spec = kubernetes["Deployment"]["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] >= _ENOUGH_SECONDS


def test_the_pod_has_no_rights(kubernetes: dict[str, Any], dockerfile: list[Stage]):
    pod = kubernetes["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    uid, gid = map(int, dockerfile[-1].only("USER").rest.split(":"))
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == uid
    assert pod["securityContext"]["runAsGroup"] == pod["securityContext"]["fsGroup"] == gid
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is False


def test_the_ports_of_pod_and_service_are_those_of_the_settings(kubernetes: dict[str, Any]):
    template = kubernetes["Deployment"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == _PORTS
    service = kubernetes["Service"]["spec"]["ports"]
    assert {port["name"]: port["port"] for port in service} == _PORTS
    assert all(port["targetPort"] == port["name"] for port in service)
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(_PORTS["metrics"])


def test_the_probes_ask_the_right_questions(kubernetes: dict[str, Any]):
    (container,) = kubernetes["Deployment"]["spec"]["template"]["spec"]["containers"]
    asked = {name: container[name]["httpGet"] for name in container if name.endswith("Probe")}
    assert {name: probe["path"] for name, probe in asked.items()} == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    assert {probe["port"] for probe in asked.values()} == {"http"}


def test_the_names_in_the_manifests_lead_to_each_other(kubernetes: dict[str, Any]):
    deployment = kubernetes["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert kubernetes["Service"]["spec"]["selector"].items() <= labels.items()
    pod = deployment["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {m["name"] for m in pod["containers"][0]["volumeMounts"]} == set(volumes)
    claim = volumes["state"]["persistentVolumeClaim"]["claimName"]
    assert claim == kubernetes["PersistentVolumeClaim"]["metadata"]["name"]
    assert volumes["settings"]["secret"]["secretName"] == kubernetes["Secret"]["metadata"]["name"]


def test_the_pod_starts_with_the_example_of_a_secret(
    kubernetes: dict[str, Any], dockerfile: list[Stage], tmp_path: Path
):
    (container,) = kubernetes["Deployment"]["spec"]["template"]["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    environment = dockerfile[-1].environment({"PATH": ""})
    assert mounts["state"] == environment["STREAM_PROXY_STATE_DIR"]
    environment |= {variable["name"]: variable["value"] for variable in container["env"]}
    file = Path(environment.pop("STREAM_PROXY_CONFIG"))
    assert str(file.parent) == mounts["settings"]
    (name, text), *_ = kubernetes["Secret"]["stringData"].items()
    assert file.name == name
    (tmp_path / name).write_text(text)
    settings = load(environment, env_file=None, config_file=tmp_path / name).settings
    check_exposure(settings)
    assert settings.key is not None


def test_a_service_of_kubernetes_puts_nothing_into_our_names(kubernetes: dict[str, Any]):
    """With enableServiceLinks taken out, its variables would still not have our prefix."""
    name = kubernetes["Service"]["metadata"]["name"].upper().replace("-", "_")
    load({f"{name}_PORT": "tcp://10.0.0.1:8099"} | _SECRETS, env_file=None)
