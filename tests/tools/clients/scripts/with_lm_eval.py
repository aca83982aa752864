"""lm-eval: a task of its own, because hubs with data sets cannot be reached, over both of its local models."""

from __future__ import annotations

import json

from cases import BASE, HOME, KEY, MODEL, MODEL_FOLDER, Unable, asked, case, command, seen

(HOME / "questions.json").write_text("\n".join(
    json.dumps({"question": f"What is {n} + {n}?", "answer": str(2 * n)}) for n in (1, 2, 3)
))
COMMON = f"""
dataset_path: json
dataset_kwargs: {{data_files: {{test: {HOME / "questions.json"}}}}}
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
"""
(HOME / "tasks").mkdir()
(HOME / "tasks" / "sums.yaml").write_text("task: sums" + COMMON + """
output_type: generate_until
generation_kwargs: {until: ["\\n"], max_gen_toks: 12, do_sample: false}
metric_list: [{metric: exact_match}]
""")
(HOME / "tasks" / "likely.yaml").write_text("task: likely" + COMMON + """
output_type: loglikelihood
metric_list: [{metric: acc}]
""")


def evaluate(model: str, task: str, path: str, *more: str) -> None:
    settings = [f"model={MODEL}", f"base_url={BASE}{path}", "num_concurrent=2", "max_retries=1", *more]
    command(
        ["lm_eval", "run", "--model", model, "--model_args", ",".join(settings), "--tasks", task, "--include_path",
         str(HOME / "tasks"), "--limit", "3", *(["--apply_chat_template"] if "chat" in model else [])],
        OPENAI_API_KEY=KEY,
    )


@case("chat")
def _() -> str:
    evaluate("local-chat-completions", "sums", "/chat/completions")
    return asked("/v1/chat/completions")


@case("completions: text")
def _() -> str:
    evaluate("local-completions", "sums", "/completions", "tokenizer_backend=none", "tokenized_requests=False")
    return asked("/v1/completions")


@case("completions: token ids")
def _() -> str:
    if not MODEL_FOLDER:
        raise Unable("it needs the tokenizer's folder: --model-folder")
    evaluate("local-completions", "sums", "/completions", "tokenizer_backend=huggingface", f"tokenizer={MODEL_FOLDER}")
    return asked("/v1/completions")


@case("loglikelihood (completions with echo)")
def _() -> str:
    if not MODEL_FOLDER:
        raise Unable("it needs the tokenizer's folder: --model-folder")
    before, tokenizer = len(seen("/v1/completions")), f"tokenizer={MODEL_FOLDER}"
    try:
        evaluate("local-completions", "likely", "/completions", "tokenizer_backend=huggingface", tokenizer)
    except AssertionError:
        refused = [one for one in seen("/v1/completions")[before:] if one["status"] == 400]
        if not refused:
            raise
        raise Unable(f"the server does not serve it, and says so: {refused[0]['answer'][:300]}") from None
    return "served"
