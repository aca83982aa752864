"""A network as Kubernetes manifests: a Secret, a Service and a StatefulSet for each peer. Law: pure but for reading the
peers' files.

A peer's model server is a container of the same pod, because they share a Unix socket. Keys and genesis file are a
Secret, which is copied to the peer's own volume when that is new: the store must survive the pod. Weights of a real
model come from a PersistentVolumeClaim that the user makes.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from testnet.providers.exporting import DATA, ENGINE_IMAGE, ENGINES, MODEL, SIMULATED, Export, Part
from testnet.runs.engines import server_of

SECRET, MODEL_CLAIM, STORE = "/secret", "folkmoot-model", "2Gi"
_COPY = f"[ -e {DATA}/genesis.cbor ] || cp {SECRET}/* {DATA}/"
SHM = "/dev/shm"  # noqa: S108  (where the kernel has it; nothing of ours lies there)
_SHARED_MEMORY: dict[str, Any] = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}  # of vLLM
_MOUNTS = {str(ENGINES): "engines", MODEL: "model", SIMULATED: "simulated"}


def manifests(export: Export, network: str) -> list[dict[str, Any]]:
    """Documents in the order in which they are applied. network: a label of all."""
    found = []
    servers = {member.name: server_of(member) for member in export.plan.members}
    if any(SIMULATED in part.needs for part in export.parts()):
        found.append(_files("simulated", export, network))
    for part in export.parts():
        server = servers[part.name]
        engine = export.engine(server) if server is not None else None
        found.append(_files(part.folder, export, network))
        found.append(_service(part, network))
        found.append(_set(part, engine, network))
    return found


def _named(kind: str, version: str, name: str, network: str) -> dict[str, Any]:
    labels = {"app": name, "folkmoot/network": network}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels}}


def _files(folder: str, export: Export, network: str) -> dict[str, Any]:
    """The files of a folder as a Secret; folders in it are left out."""
    place = export.plan.folder(folder)
    data = {file.name: b64encode(file.read_bytes()).decode() for file in sorted(place.iterdir()) if file.is_file()}
    return {**_named("Secret", "v1", folder, network), "type": "Opaque", "data": data}


def _service(part: Part, network: str) -> dict[str, Any]:
    """A name for the peer; a client, which nobody dials, has one without a port."""
    spec: dict[str, Any] = {"clusterIP": "None", "selector": {"app": part.name}}
    if part.port is not None:
        spec |= {"ports": [{"name": "libp2p", "port": part.port}], "publishNotReadyAddresses": True}
    return {**_named("Service", "v1", part.name, network), "spec": spec}


def _set(part: Part, engine: Part | None, network: str) -> dict[str, Any]:
    needs = sorted({*part.needs, *(engine.needs if engine is not None else ())})
    data = {"name": "data", "mountPath": DATA}
    containers, more = [_container(part, [data])], []
    if engine is not None:
        real = engine.image == ENGINE_IMAGE
        containers.append(_container(engine, [{"name": "shm", "mountPath": SHM}] if real else []))
        more = [_SHARED_MEMORY] if real else []
    copy = {
        "name": "copy", "image": part.image, "command": ["sh", "-c", _COPY],
        "volumeMounts": [data, {"name": "secret", "mountPath": SECRET}],
    }
    volumes = [{"name": "secret", "secret": {"secretName": part.folder}}, *(_volume(need) for need in needs), *more]
    labels = {"app": part.name, "folkmoot/network": network}
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": STORE}}},
    }
    return {
        **_named("StatefulSet", "apps/v1", part.name, network),
        "spec": {
            "serviceName": part.name, "replicas": 1, "selector": {"matchLabels": {"app": part.name}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"initContainers": [copy], "containers": containers, "volumes": volumes},
            },
            "volumeClaimTemplates": [claim],
        },
    }


def _container(part: Part, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": part.name, "image": part.image, "command": part.command,
        "volumeMounts": [*mounts, *({"name": _MOUNTS[need], "mountPath": need} for need in part.needs)],
    }
    if part.port is not None:
        found["ports"] = [{"containerPort": part.port}]
    return found


def _volume(need: str) -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = {
        str(ENGINES): {"emptyDir": {}}, MODEL: {"persistentVolumeClaim": {"claimName": MODEL_CLAIM}},
        SIMULATED: {"secret": {"secretName": "simulated"}},
    }
    return {"name": _MOUNTS[need], **kinds[need]}
