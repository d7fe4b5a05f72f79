"""Accuracy on multiple-choice questions: each candidate answer's probability under the model decides."""

import os
from collections.abc import Iterable
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from medllm_hf.data.mcq import REPLY_PREFIX, McqItem, load_items
from medllm_hf.errors import UserError
from medllm_hf.evaluation.run_folder import environment, now, weights_hash, write_jsonl
from medllm_hf.folders import check_free, new_folder, sha256, write_json
from medllm_hf.text import neutralised

TOKENS_AT_ONCE = 8192


def mcq(model: str, data: str, out: str, score: str = "letter", overwrite: bool = False) -> None:
    """Answers the questions in the file `data` and writes the run folder `out`.

    Args:
        score: "letter" shows the options and compares the letters; "text" shows the bare question and compares the whole
            answers (option text and end of turn, total log-probability), which suits a small or untrained model.
            Multiple-answer questions compare all sets of two or more options.

    Raises:
        UserError: the model or the questions cannot be read, or `out` is not free.
    """
    check_free(out, overwrite)
    items = load_items(data)
    network, tokenizer = load(model)
    started = now()
    outputs = [answer(network, tokenizer, item, score) for item in items]
    scores = [
        {"id": item.id, "prediction": output["prediction"], "reference": "".join(sorted(item.answer)), "group": item.subject}
        for item, output in zip(items, outputs, strict=True)
    ]
    metrics = compute(scores, items)
    with new_folder(out, overwrite) as folder:
        manifest = {
            "kind": "mcq",
            "model": {"id": Path(model).name, "weights_sha256": weights_hash(Path(model))},
            "data": {"file": Path(data).name, "sha256": sha256(Path(data)), "n": len(items)},
            "settings": {"mode": "likelihood", "score": score, "shots": 0, "reply_prefix": REPLY_PREFIX},
            "started": started,
            "ended": now(),
            **environment(),
        }
        write_json(folder / "manifest.json", manifest)
        write_jsonl(folder / "outputs.jsonl", outputs)
        write_jsonl(folder / "scores.jsonl", scores)
        write_json(folder / "metrics.json", metrics)
    print(
        f"accuracy {100 * metrics['accuracy']:.1f}% of n={metrics['n']} "
        f"(95% interval {100 * metrics['interval_low']:.1f} to {100 * metrics['interval_high']:.1f}, "
        f"unparsed {metrics['unparsed']}), run folder {out}"
    )


def load(model: str) -> tuple[transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase]:
    """The model in evaluation mode and its tokenizer, from a local folder.

    Raises:
        UserError: no such folder, no weights in it, or no chat template.
    """
    if not Path(model).is_dir():
        raise UserError(f"no folder {model}", "a checkpoint folder", "check the path; a Hub id must be downloaded first")
    try:
        network = AutoModelForCausalLM.from_pretrained(model, dtype="auto").eval()
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{model}: {str(error).splitlines()[0]}", "a checkpoint that transformers loads", "check the folder"
        ) from error
    if not tokenizer.chat_template:
        raise UserError(f"no chat template in {model}", "a chat model", "add a chat_template.jinja to the folder")
    return network, tokenizer


def candidates(item: McqItem) -> list[tuple[str, ...]]:
    """The letter sets that may be the answer: every single letter, or every set of two and more."""
    if item.kind == "single":
        return [(letter,) for letter in item.options]
    return [chosen for size in range(2, len(item.options) + 1) for chosen in combinations(item.options, size)]


def answer(network, tokenizer, item: McqItem, score: str) -> dict:
    """The prediction for one item and every candidate's log-probability, in nats."""
    chosen = candidates(item)
    start = tokenizer.apply_chat_template(
        [{"role": "user", "content": item.prompt(options=score == "letter")}], tokenize=False, add_generation_prompt=True
    )
    start += REPLY_PREFIX
    end = tokenizer.eos_token if score == "text" else ""
    texts = [("".join(sorted(c)) if score == "letter" else neutralised(item.option_text(c))) + end for c in chosen]
    prompt, *whole = (tokenizer(start + text, add_special_tokens=False)["input_ids"] for text in ["", *texts])
    values = log_probabilities(network, prompt, whole)
    best = max(range(len(chosen)), key=values.__getitem__)
    return {
        "id": item.id,
        "prediction": "".join(sorted(chosen[best])),
        "logprobs": {"".join(sorted(c)): round(v, 4) for c, v in zip(chosen, values, strict=True)},
    }


@torch.inference_mode()
def log_probabilities(network, prompt: list[int], whole: list[list[int]]) -> list[float]:
    """The log-probability (nats) of each sequence's tokens from the first that differs from `prompt` on."""
    values = []
    rows = max(1, TOKENS_AT_ONCE // max(map(len, whole)))
    for start in range(0, len(whole), rows):
        batch = whole[start : start + rows]
        width = max(map(len, batch))
        # Padding stands on the right, after every token that is scored, so it needs no mask under causal attention.
        ids = torch.tensor([row + [0] * (width - len(row)) for row in batch], device=network.device)
        logits = network(input_ids=ids, use_cache=False).logits
        for row, row_logits in zip(batch, logits, strict=True):
            first = len(os.path.commonprefix([prompt, row]))
            scored = row_logits[first - 1 : len(row) - 1].float().log_softmax(-1)
            values.append(scored.gather(1, ids.new_tensor(row[first:]).unsqueeze(1)).sum().item())
    return values


def compute(scores: Iterable[dict], items: list[McqItem]) -> dict:
    """The metrics of a run from its scores, by the project's own `evaluate` module."""
    import evaluate

    scores = list(scores)
    metric = evaluate.load(str(files("medllm_hf") / "metrics" / "mcq_accuracy"))
    return metric.compute(
        predictions=[row["prediction"] for row in scores],
        references=[row["reference"] for row in scores],
        groups=[row["group"] for row in scores],
        options=[[{"label": label, "text": text} for label, text in item.options.items()] for item in items],
    )
