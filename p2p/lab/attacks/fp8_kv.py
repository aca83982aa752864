"""The right weights with the key-value cache kept in fp8: half the cache, so twice the users."""

from p2p.lab.attacks.base import DISTANCE, Attack

ATTACK = Attack(
    "fp8_kv", "Serves the right weights with the key-value cache in fp8.", DISTANCE,
    vllm_flags=("--kv-cache-dtype", "fp8"), torch_options={"kv_cache": "fp8"},
)
