"""The figures of a model card, beside those that the evidence gives."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from medllm_hf.errors import UserError, first_line
from medllm_hf.evaluation.verification.findings import DECLARED, DIFFERENT, UNKNOWN, Finding, compared
from medllm_hf.folders import read_text
from medllm_hf.hub.card_lines import line_findings
from medllm_hf.hub.card_metadata import metadata_findings, read_metadata, read_yaml
from medllm_hf.hub.cards import About, model_card, own_words
from medllm_hf.hub.results import FOLDER, entry

CARD = "README.md"
# Bytes of a card.
LARGEST = 1 << 22
# What an edited card, config.json, provenance.json or training.json makes of the code that fills the card from them.
DAMAGE = (KeyError, IndexError, TypeError, AttributeError, ValueError, ZeroDivisionError, RecursionError)


def card_findings(folder: Path, runs: list[dict], stored: Mapping[str, int] | None = None) -> list[Finding]:
    """The findings on the card and the `.eval_results` of a repository folder whose evidence gives `runs`.

    Args:
        stored: see `model_card`.
    """
    if not os.path.lexists(folder / CARD):
        return [Finding(CARD, DIFFERENT, f"no {CARD}")]
    try:
        text = read_text(folder / CARD, LARGEST)
        metadata, body = _parts(text)
        about = _about(metadata, body)
        card = model_card(folder, about, runs, stored)
    except FileNotFoundError as error:
        return [Finding(CARD, DIFFERENT, f"no {Path(error.filename).name}")]
    except (*DAMAGE, yaml.YAMLError, UserError) as error:
        return [Finding(CARD, DIFFERENT, f"no card can be made again ({type(error).__name__} {first_line(error)})")]
    made, lines = _parts(str(card))
    found = index_findings(made.get("model-index", []), metadata.get("model-index", []))
    found += metadata_findings(made, metadata)
    found += line_findings(lines.split("\n"), body.split("\n"))
    return [*found, *entry_findings(folder, about, runs, body), *pair_findings(runs)]


def pair_findings(runs: list[dict]) -> list[Finding]:
    """A finding for each comparison of which neither system is the published model."""
    why = "no consultations under eval/ have the dialogues of either system"
    return [Finding(f"eval/{run['name']}", UNKNOWN, why) for run in runs if run.get("held") == {}]


def _parts(text: str) -> tuple[dict, str]:
    head = re.match(r"---\n(.*?)\n---\n", text.replace("\r\n", "\n"), re.S)
    if not head:
        raise ValueError("no metadata")
    return read_metadata(head[1]), text.replace("\r\n", "\n")[head.end() :]


def _about(metadata: dict, body: str) -> About:
    """What the publisher said, read back from the card."""
    name = re.search(r'from_pretrained\("([^"\n]{1,200})"', body)
    if not name:
        raise ValueError("no from_pretrained with the model's name")
    datasets = tuple(metadata.get("datasets") or ())
    return About(name[1], metadata["license"], metadata.get("base_model"), datasets, own_words(body))


def index_findings(made: list[dict], stored: list[dict]) -> list[Finding]:
    """A finding for each result of `model-index`."""
    ours, theirs = _results(made), _results(stored)
    found = []
    for key, value in ours.items():
        figure = f"{CARD} model-index {key}"
        if key in theirs:
            found.append(compared(figure, value, theirs[key]))
        else:
            found.append(Finding(figure, DIFFERENT, "not there"))
    more = [Finding(f"{CARD} model-index {key}", UNKNOWN, "no run gives it") for key in theirs if key not in ours]
    if sum(len(one["results"]) for one in stored) != sum(len(one["results"]) for one in made):
        more.append(Finding(f"{CARD} model-index", DIFFERENT, "another number of results"))
    return [*found, *more]


def _results(index: list[dict]) -> dict[str, object]:
    """ "METRIC of RUN field" → value of every field of the results."""
    fields: dict[str, object] = {}
    for result in (result for model in index for result in model["results"]):
        dataset = result["dataset"]
        for metric in result["metrics"]:
            name = f"{metric['type']} of {metric.get('args', {}).get('run', dataset['name'])}"
            fields[name] = metric["value"]
            fields[f"{name} name"] = metric.get("name")
            fields[f"{name} args"] = metric.get("args")
            fields[f"{name} dataset"] = {**dataset, "task": result["task"]["type"]}
    return fields


def entry_findings(folder: Path, about: About, runs: list[dict], body: str) -> list[Finding]:
    """A finding for each file of `.eval_results`."""
    by_name = {run["name"]: run for run in runs if run["manifest"]["kind"] == "mcq" and "of_base" not in run}
    found = []
    for file in sorted((folder / FOLDER).glob("*")):
        figure = f"{FOLDER}/{file.name}"
        try:
            stored = read_yaml(read_text(file, LARGEST))
            run = by_name.get(file.stem)
            if run is None:
                found.append(Finding(figure, UNKNOWN, f"no run {file.stem} under eval/"))
                continue
            dataset = stored[0]["dataset"]
            (made,) = entry(run, about.repo_id, dataset["id"], dataset["task_id"])
            found.append(
                Finding(f"{figure} dataset", DECLARED, f"{dataset['id']} {dataset['task_id']}, in the publisher's words")
            )
            found += [compared(f"{figure} {key}", value, stored[0].get(key)) for key, value in made.items()]
            found += [Finding(f"{figure} {key}", UNKNOWN, "no run gives it") for key in stored[0] if key not in made]
            found += [Finding(figure, UNKNOWN, f"{len(stored)} entries for one run")] if len(stored) > 1 else []
        except (*DAMAGE, yaml.YAMLError, UserError) as error:
            found.append(Finding(figure, DIFFERENT, f"damaged ({type(error).__name__})"))
    named = set(re.findall(rf"{re.escape(FOLDER)}/[^`\s]{{1,200}}\.yaml", body))
    gone = [name for name in sorted(named) if not (folder / name).exists()]
    return found + [Finding(name, DIFFERENT, "the card names it and it is not there") for name in gone]
