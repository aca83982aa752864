"""A network as a compose file, for docker compose and podman-compose. Law: pure."""

from __future__ import annotations

from typing import Any

from testnet.providers.exporting import DATA, ENGINE_IMAGE, ENGINES, MODEL, SIMULATED, Export, Part

SHARED_MEMORY = "1gb"  # what vLLM's processes send each other
_VOLUMES = {str(ENGINES): f"engines:{ENGINES}", MODEL: f"./model:{MODEL}:ro", SIMULATED: f"./simulated:{SIMULATED}:ro"}


def compose(export: Export, name: str) -> dict[str, Any]:
    """The file's content. name: of the project."""
    services = {part.name: _service(part) for part in (*export.engines(), *export.parts())}
    found: dict[str, Any] = {"name": name, "services": services}
    if export.engines():
        found["volumes"] = {"engines": {}}
    return found


def _service(part: Part) -> dict[str, Any]:
    volumes = [_VOLUMES[need] for need in part.needs]
    if part.folder:
        volumes.append(f"./{part.folder}:{DATA}")
    service: dict[str, Any] = {
        "image": part.image, "command": part.command, "hostname": part.name, "restart": "on-failure",
    }
    if volumes:
        service["volumes"] = volumes
    if part.image == ENGINE_IMAGE:
        service["shm_size"] = SHARED_MEMORY
    if part.port is not None:
        service["expose"] = [str(part.port)]
    return service
