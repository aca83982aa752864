"""Networks written for other machines: compose and Kubernetes take what is written, and no path of here is in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from p2p.base.errors import ConfigError
from p2p.base.toml_file import read_toml
from testnet.manifest.reading import find, parse, read_manifest
from testnet.providers.compose import compose
from testnet.providers.exporting import Export, export
from testnet.providers.kubernetes import manifests
from testnet.providers.yaml_text import dump

PLAIN = st.recursive(
    st.one_of(
        st.text(max_size=20), st.integers(-10**9, 10**9), st.booleans(),
        st.sampled_from(["yes", "null", "1e3", "~", "- a", "a: b", "#", "", " ", "/ip4/1.2.3.4/tcp/1", "0x1f", "1:30"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=15,
)


@given(PLAIN)
def test_what_is_read_back_is_what_was_written(value: Any) -> None:
    assert yaml.safe_load(dump(value)) == value


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Export:
    return export(read_manifest(find("cheats-12")), tmp_path_factory.mktemp("out") / "net", lambda text: None)


def test_peers_know_each_other_by_name(made: Export) -> None:
    host = read_toml(made.plan.folder("host1") / "config.toml", field="config")
    assert host["listen"] == ["/ip4/0.0.0.0/tcp/7470"]
    words = next(part.command for part in made.parts() if part.name == "host2")
    assert any(word.startswith("/dns4/host1/tcp/7470/p2p/") for word in words)


def test_no_path_of_this_machine_is_in_it(made: Export) -> None:
    text = dump(compose(made, "net")) + "".join(dump(one) for one in manifests(made, "net"))
    files = "".join(file.read_text() for file in made.plan.directory.glob("*/config.toml"))
    assert str(made.plan.directory) not in text + files


def test_the_compose_file_is_taken_by_compose(made: Export) -> None:
    file = made.plan.directory / "compose.yaml"
    file.write_text(dump(compose(made, "cheats")))
    command = [sys.executable, "-m", "podman_compose", "--file", str(file), "config"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert {member.name for member in made.plan.members} <= set(services)
    for service in services.values():
        for volume in service.get("volumes", []):
            source = str(volume).split(":", 1)[0]
            assert source == "engines" or (made.plan.directory / source).exists()


def test_the_manifests_are_taken_by_kubernetes(made: Export) -> None:
    import kubernetes_validate

    found = manifests(made, "cheats-12")
    for one in found:
        kubernetes_validate.validate(one, "1.31", strict=True)
    kinds = [one["kind"] for one in found]
    assert kinds.count("StatefulSet") == kinds.count("Service") == len(made.plan.members)
    wrong = {**found[-1], "spec": {**found[-1]["spec"], "replicas": "one"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.31", strict=True)


def test_what_only_this_machine_can_do_is_refused(tmp_path: Path) -> None:
    text = find("smoke-4").read_text().replace('"simulated"', '"torch"')
    with pytest.raises(ConfigError, match="torch"):
        export(parse(text), tmp_path / "net", lambda said: None)
