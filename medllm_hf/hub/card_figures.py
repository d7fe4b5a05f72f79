"""The figures of a model card, beside those that the evidence gives."""

import difflib
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import yaml

from medllm_hf.errors import UserError
from medllm_hf.evaluation.verification.findings import CONFIRMED, DIFFERENT, UNKNOWN, Finding, compared
from medllm_hf.folders import read_text
from medllm_hf.hub.cards import About, model_card
from medllm_hf.hub.results import FOLDER, entry

CARD = "README.md"
# What is taken for a figure in a line that no evidence gives.
_FIGURE = re.compile(
    r"\d+\.\d+|\d\s*(?:%|‰|percent)|百分之|\bn\s*=\s*\d|(?:accuracy|score|准确率|正确率|得分|评分|分数).*\d", re.I
)
_LONGEST = 90
# What an edited card, config.json, provenance.json or training.json makes of the code that fills the card from them.
DAMAGE = (KeyError, IndexError, TypeError, AttributeError, ValueError, ZeroDivisionError, RecursionError)


def card_findings(folder: Path, runs: list[dict]) -> list[Finding]:
    """The findings on the card and the `.eval_results` of a repository folder whose evidence gives `runs`."""
    if not os.path.lexists(folder / CARD):
        return [Finding(CARD, DIFFERENT, f"no {CARD}")]
    try:
        text = read_text(folder / CARD)
        metadata, body = _parts(text)
        about = _about(metadata, body)
        card = model_card(folder, about, runs)
    except FileNotFoundError as error:
        return [Finding(CARD, DIFFERENT, f"no {Path(error.filename).name}")]
    except (*DAMAGE, yaml.YAMLError, UserError) as error:
        return [Finding(CARD, DIFFERENT, f"no card can be made again ({type(error).__name__} {error})")]
    made, lines = _parts(str(card))
    found = index_findings(made.get("model-index", []), metadata.get("model-index", []))
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
    metadata = yaml.safe_load(head[1])
    if not isinstance(metadata, dict):
        raise ValueError("no metadata")
    return metadata, text.replace("\r\n", "\n")[head.end() :]


def _about(metadata: dict, body: str) -> About:
    """What the publisher said, read back from the card."""
    name = re.search(r'from_pretrained\("([^"]+)"', body)
    if not name:
        raise ValueError("no from_pretrained with the model's name")
    return About(name[1], metadata["license"], metadata.get("base_model"), tuple(metadata.get("datasets") or ()))


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


def line_findings(made: list[str], stored: list[str]) -> list[Finding]:
    """A finding for each line with figures that the evidence gives, and for each of the card's that it does not give."""
    theirs, ours = {line.strip() for line in stored}, {line.strip() for line in made}
    found = []
    strange = [(number, line.strip()) for number, line in enumerate(stored, start=1) if line.strip() not in ours]
    for line in dict.fromkeys(_with_figures(made)):
        figure = f'{CARD} "{_short(line)}"'
        if line in theirs:
            found.append(Finding(figure, CONFIRMED))
            continue
        near = difflib.get_close_matches(line, [text for _, text in strange], 1, 0.6)
        found.append(Finding(figure, DIFFERENT, f'the card has "{_short(near[0])}"' if near else "not in the card"))
    for number, line in strange:
        if _FIGURE.search(unicodedata.normalize("NFKC", line)):
            found.append(Finding(f'{CARD} text line {number} "{_short(line)}"', UNKNOWN, "no evidence gives it"))
    return found


def _with_figures(lines: list[str]) -> Iterator[str]:
    """Yields the lines of tables, lists and settings with digits in them."""
    fence = None
    for line in map(str.strip, lines):
        if line.startswith("```"):
            fence = line[3:] if fence is None else None
        elif re.search(r"\d", line) and (fence == "yaml" or (fence is None and line.startswith(("|", "- ")))):
            yield line


def entry_findings(folder: Path, about: About, runs: list[dict], body: str) -> list[Finding]:
    """A finding for each file of `.eval_results`."""
    by_name = {run["name"]: run for run in runs if run["manifest"]["kind"] == "mcq"}
    found = []
    for file in sorted((folder / FOLDER).glob("*")):
        figure = f"{FOLDER}/{file.name}"
        try:
            stored = yaml.safe_load(read_text(file))
            run = by_name.get(file.stem)
            if run is None:
                found.append(Finding(figure, UNKNOWN, f"no run {file.stem} under eval/"))
                continue
            dataset = stored[0]["dataset"]
            (made,) = entry(run, about.repo_id, dataset["id"], dataset["task_id"])
            found += [compared(f"{figure} {key}", value, stored[0].get(key)) for key, value in made.items()]
            found += [Finding(f"{figure} {key}", UNKNOWN, "no run gives it") for key in stored[0] if key not in made]
            found += [Finding(figure, UNKNOWN, f"{len(stored)} entries for one run")] if len(stored) > 1 else []
        except (*DAMAGE, yaml.YAMLError) as error:
            found.append(Finding(figure, DIFFERENT, f"damaged ({type(error).__name__})"))
    named = set(re.findall(rf"{re.escape(FOLDER)}/[^`\s]+\.yaml", body))
    gone = [name for name in sorted(named) if not (folder / name).exists()]
    return found + [Finding(name, DIFFERENT, "the card names it and it is not there") for name in gone]


def _short(line: str) -> str:
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
