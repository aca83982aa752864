"""Which model this machine can serve, and with which engine.

Law: pure; each refusal names what is missing and what would do. The estimate is weights, a fifth more for caches and
activations, and what the engine's own program takes; vLLM itself refuses what still does not fit.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2p.inference.stack.hardware import Hardware

GIB = 1 << 30
PROGRAM_GPU = GIB  # bytes of a GPU that CUDA and vLLM take without a model
PROGRAM_CPU = 2 * GIB  # the same of main memory, on a CPU
CACHES_MILLI = 1200  # memory for a byte of weights, thousandths
BYTES_A_WEIGHT = 2  # bfloat16
NEEDED = "avx2"  # without it no engine's wheel runs on x86
BETTER = "avx512f"  # with which the checks were calibrated


@dataclass(frozen=True, slots=True)
class Fit:
    """How a model would run here."""

    fits: bool
    engine: str  # vllm or torch; empty where it does not run
    where: str  # "gpu" or "cpu"
    text: str  # one sentence, with the fix where there is one


def fit(weights: int, hardware: Hardware) -> Fit:
    """weights: bytes of the model's safetensors."""
    needs_gpu = weights * CACHES_MILLI // 1000 + PROGRAM_GPU
    has_gpu = sum(gpu.free for gpu in hardware.gpus)
    if not hardware.engines:
        extra = "gpu" if hardware.gpus else "cpu"
        return Fit(False, "", "", f"no engine is installed: pip install 'folkmoot[{extra}]'")
    if hardware.gpus and "vllm" in hardware.engines:
        names = ", ".join(gpu.name for gpu in hardware.gpus)
        if needs_gpu <= has_gpu:
            split = "" if len(hardware.gpus) == 1 else f"; {len(hardware.gpus)} GPUs: --tensor-parallel as needed"
            return Fit(True, "vllm", "gpu", f"{names}: {_gib(has_gpu)} free, about {_gib(needs_gpu)} needed{split}")
        advice = f"it needs about {_gib(needs_gpu)}: free the GPU, or choose a smaller model"
        return Fit(False, "", "gpu", f"{names}: only {_gib(has_gpu)} of memory are free, and {advice}")
    return _on_cpu(weights, hardware)


def _on_cpu(weights: int, hardware: Hardware) -> Fit:
    needs = weights * CACHES_MILLI // 1000 + PROGRAM_CPU
    if hardware.instructions and NEEDED not in hardware.instructions and "asimd" not in hardware.instructions:
        return Fit(False, "", "cpu", f"this processor has no {NEEDED.upper()} instructions, which the engines need")
    if hardware.available < needs:
        has = f"only {_gib(hardware.available)} of memory are available, and about {_gib(needs)} are needed"
        return Fit(False, "", "cpu", f"{has}: end other programs, or choose a smaller model")
    engine = hardware.engines[0]
    slow = "" if BETTER in hardware.instructions else f"; without {BETTER.upper()} it is slow"
    driver = f"; {hardware.driver}" if hardware.driver else ""
    text = f"{hardware.cores} cores, {_gib(hardware.available)} of memory, about {_gib(needs)} needed{slow}{driver}"
    return Fit(True, engine, "cpu", text)


def largest(hardware: Hardware) -> int:
    """How many weights, in bfloat16, a model may have here at most; 0: none."""
    room = sum(gpu.free for gpu in hardware.gpus) - PROGRAM_GPU if hardware.gpus else hardware.available - PROGRAM_CPU
    return max(0, room * 1000 // CACHES_MILLI // BYTES_A_WEIGHT)


def in_words(hardware: Hardware) -> str:
    """One sentence: what is here, and how large a model may be."""
    gpus = ", ".join(f"{gpu.name} ({_gib(gpu.free)} of {_gib(gpu.total)} free)" for gpu in hardware.gpus)
    has = gpus or "no GPU" + (f" ({hardware.driver})" if hardware.driver else "")
    billions = largest(hardware) / 1e9
    room = f"models up to {billions:.1f} billion weights in bfloat16 fit" if billions >= 0.1 else "no model fits"
    wide = BETTER if BETTER in hardware.instructions else NEEDED if NEEDED in hardware.instructions else "plain"
    memory = f"{_gib(hardware.available)} of {_gib(hardware.memory)} memory available"
    return f"{has}; {hardware.cores} cores ({wide}), {memory}: {room}"


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
