"""Outputs of a judge → rows of scores → metrics. Nothing here asks a model, so anybody can do it again."""

import re
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType

from medllm_hf.evaluation.judging.canaries import HIGHEST
from medllm_hf.metrics.llm_judge import scoring

# Families of models by their names; the first that fits counts, so HuatuoGPT is no GPT.
FAMILIES = (
    "huatuo", "bianque", "disc-med", "baichuan", "qwen|qwq|tongyi", "deepseek", "glm", "internlm", "ernie", "hunyuan",
    "kimi|moonshot", "claude", "gemini|gemma", "mixtral|mistral", "llama", "gpt|^o[134]\\b|davinci",
)  # fmt: skip


def load_metric() -> ModuleType:
    """The functions of the project's own metric for judging."""
    return scoring


def score_rows(metric, dialogues: Iterable[dict], outputs: Mapping[tuple, dict], rubric: str, samples: int) -> list[dict]:
    """The rows of scores.jsonl, one for each reply; `outputs` are by (id, sample)."""
    rows = []
    for dialogue in dialogues:
        for sample in range(samples):
            output = outputs[dialogue["id"], sample]
            item = metric.scored(dialogue["turns"], dialogue.get("reference"), [output["reply"]], rubric)
            unscored = output["error"] if output.get("error") else item["unscored"]
            rows.append({**dialogue, "sample": sample, "scores": item["scores"], "unscored": unscored})
    return rows


def metrics_of(
    metric, scores: Sequence[dict], outputs: Mapping[tuple, dict], canary_rows: Sequence[dict], manifest: dict
) -> dict:
    """The metrics of a judge run from its rows of scores, its outputs by (id, sample) and the canaries' rows.

    "headline" has each system's overall score, or is None, and "no_headline" then says why.
    """
    settings = manifest["settings"]
    systems = {system: _system(metric, scores, outputs, system, manifest) for system in manifest["systems"]}
    unscored = sum(row["unscored"] is not None for row in scores)
    failures = {
        "replies": len(scores),
        "unscored": unscored,
        "rate": unscored / len(scores),
        "limit": settings["failure_limit"],
    }
    checked = [_checked(row, manifest["rubric"]) for row in canary_rows]
    reasons = [f"the judge does not score {row['id']} low: {_told(row)}" for row in checked if not row["passed"]]
    if failures["rate"] > failures["limit"]:
        reasons.append(f"{unscored} of {len(scores)} replies are unscored, more than {100 * failures['limit']:g}%")
    warnings = _self_preference(manifest) + _missing(scores)
    if not checked:
        warnings.append("no canary dialogues were judged")
    names = ("overall", "n", "unscored")
    headline = {
        name: {**{key: found[key] for key in names}, "interval": found["intervals"]["overall"]}
        for name, found in systems.items()
    }
    return {
        "systems": systems,
        "headline": None if reasons else headline,
        "no_headline": reasons,
        "warnings": warnings,
        "canaries": checked,
        "failures": failures,
        "usage": usage(outputs.values()),
    }


def usage(outputs: Iterable[dict]) -> dict:
    """What the replies have cost. `calls` counts a reply and each unusable one before it."""
    outputs = list(outputs)
    total = {name: sum(row.get(name) or 0 for row in outputs) for name in ("prompt_tokens", "completion_tokens")}
    return {
        "calls": sum(1 + len(row["attempts"]) for row in outputs if "attempts" in row),
        "repeated_requests": sum(row.get("retries", 0) for row in outputs),
        **total,
        "replies_without_counts": sum("attempts" in row and row["prompt_tokens"] is None for row in outputs),
        "cut": sum(row.get("finish") == "length" for row in outputs),
    }


def family(name: str) -> str | None:
    """The family that a model's name tells, None if it tells none that is known."""
    short = name.lower().split("/")[-1]
    return next((pattern for pattern in FAMILIES if re.search(pattern, short)), None)


def _system(metric, scores: Sequence[dict], outputs: Mapping[tuple, dict], system: str, manifest: dict) -> dict:
    """The metric's result over one system's dialogues, without its items, which are in scores.jsonl and outputs.jsonl."""
    rows = [row for row in scores if row["model"] == system]
    own = [row for row in rows if row["sample"] == 0]
    rubric, samples = manifest["rubric"], range(manifest["settings"]["samples"])
    options = metric.JudgeOptions(
        replies=[[outputs[row["id"], sample]["reply"] for sample in samples] for row in own],
        groups=[row["group"] for row in own],
        rubric=rubric["name"],
        language=rubric["language"],
    )
    result = metric.score_dialogues([row["turns"] for row in own], [row.get("reference") for row in own], options)
    return {name: value for name, value in result.items() if name not in ("items", "rubric")}


def _checked(row: dict, rubric: dict) -> dict:
    known = [score for score in row["scores"].values() if score is not None]
    limit = rubric["low"] + HIGHEST * (rubric["high"] - rubric["low"])
    passed = bool(known) and sum(known) / len(known) <= limit
    return {"id": row["id"], "scores": row["scores"], "unscored": row["unscored"], "passed": passed}


def _told(row: dict) -> str:
    return row["unscored"] or ", ".join(f"{key} {score:g}" for key, score in row["scores"].items())


def _self_preference(manifest: dict) -> list[str]:
    judge = manifest["judge"]["id"]
    alike = [name for name in manifest["systems"] if family(judge) is not None and family(name) == family(judge)]
    return [f"{judge} judges {name}, a model of its own family, and may prefer it" for name in alike]


def _missing(scores: Sequence[dict]) -> list[str]:
    """Says of which cases a system has no dialogue that another one has."""
    cases: dict[str, dict] = {}
    for row in scores:
        cases.setdefault(row["model"], {})[row["source"], row["case_id"]] = None
    every = dict.fromkeys(case for own in cases.values() for case in own)
    found = []
    for model, own in cases.items():
        if absent := ["/".join(case) for case in every if case not in own]:
            found.append(f"{model} has no dialogue on {len(absent)} cases that others have: {', '.join(absent)}")
    return found
