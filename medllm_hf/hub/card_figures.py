"""The figures of a model card, beside those that the evidence gives."""

import difflib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from medllm_hf.errors import UserError
from medllm_hf.evaluation.verification.findings import CONFIRMED, DECLARED, DIFFERENT, UNKNOWN, Finding, compared
from medllm_hf.folders import read_text
from medllm_hf.hub.card_metadata import metadata_findings, read_metadata, read_yaml
from medllm_hf.hub.cards import SECTION_BEGINS, SECTION_ENDS, WARNING, About, model_card, own_words
from medllm_hf.hub.claims import claim, has_markup
from medllm_hf.hub.results import FOLDER, entry

CARD = "README.md"
# Bytes of a card, and of a line that is looked at for what it may have been.
LARGEST, _ALIKE = 1 << 22, 400
_LONGEST = 90
# What an edited card, config.json, provenance.json or training.json makes of the code that fills the card from them.
DAMAGE = (KeyError, IndexError, TypeError, AttributeError, ValueError, ZeroDivisionError, RecursionError)


def card_findings(folder: Path, runs: list[dict]) -> list[Finding]:
    """The findings on the card and the `.eval_results` of a repository folder whose evidence gives `runs`."""
    if not os.path.lexists(folder / CARD):
        return [Finding(CARD, DIFFERENT, f"no {CARD}")]
    try:
        text = read_text(folder / CARD, LARGEST)
        metadata, body = _parts(text)
        about = _about(metadata, body)
        card = model_card(folder, about, runs)
    except FileNotFoundError as error:
        return [Finding(CARD, DIFFERENT, f"no {Path(error.filename).name}")]
    except (*DAMAGE, yaml.YAMLError, UserError) as error:
        return [Finding(CARD, DIFFERENT, f"no card can be made again ({type(error).__name__} {error})")]
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


def line_findings(made: Sequence[str], stored: Sequence[str]) -> list[Finding]:
    """A finding for each line with figures that the evidence gives, and for each of the card's that it does not give.

    Outside the marked section of the publisher's own words, plain words that claim nothing are declared, and whatever claims
    or may hide something is different. In the section, which must end what it begins, a claim is declared.
    """
    made, stored = [line.strip() for line in made], [line.rstrip() for line in stored]
    theirs, left = set(map(str.strip, stored)), Counter(made)
    strange, order = [], []
    places = {line: place for place, line in enumerate(made) if left[line] == 1}
    for number, line in enumerate(stored, start=1):
        if left[line.strip()] > 0:
            left[line.strip()] -= 1
            order += [(places[line.strip()], number)] if line.strip() in places else []
        else:
            strange.append((number, line))
    found = _missing(made, theirs, strange)
    # A table under the heading of another says something else.
    if later := next((two[1] for one, two in zip(order, order[1:], strict=False) if two[0] < one[0]), None):
        found.append(Finding(f"{CARD} text line {later}", DIFFERENT, "lines of the card in another order"))
    own = _own_lines(made)
    found += [_own(line) for line in own if claim(line)]
    if own and (wrong := _unended(own)):
        found.append(Finding(f"{CARD} own words", DIFFERENT, f"{wrong} that does not end in the section"))
    words = 0
    for number, line in strange:
        figure, said = f'{CARD} text line {number} "{_short(line.strip())}"', claim(line)
        if said:
            found.append(Finding(figure, DIFFERENT, f"{said} that no evidence gives"))
        elif has_markup(line):
            found.append(Finding(figure, DIFFERENT, "markup that may hide or change what is shown"))
        else:
            words += bool(line.strip())
    if words:
        found.append(Finding(f"{CARD} text", DECLARED, f"{words} lines of the publisher's own words, without a figure"))
    return found


def _missing(made: Sequence[str], theirs: set[str], strange: Sequence[tuple[int, str]]) -> list[Finding]:
    """A finding for each line with figures of the card as it should be, and for the warning if it is gone."""
    found = []
    near_ones = [text.strip() for _, text in strange[:1000] if len(text) < _ALIKE]
    for line in dict.fromkeys(_with_figures(made)):
        figure = f'{CARD} "{_short(line)}"'
        if line in theirs:
            found.append(Finding(figure, CONFIRMED))
            continue
        near = difflib.get_close_matches(line[:_ALIKE], near_ones, 1, 0.6)
        found.append(Finding(figure, DIFFERENT, f'the card has "{_short(near[0])}"' if near else "not in the card"))
    if WARNING not in theirs:
        found.append(Finding(CARD, DIFFERENT, "the warning that it is no medical device is not in the card"))
    return found


def _own_lines(made: Sequence[str]) -> Sequence[str]:
    if SECTION_BEGINS not in made:
        return ()
    return made[made.index(SECTION_BEGINS) + 1 : made.index(SECTION_ENDS)]


def _own(line: str) -> Finding:
    return Finding(f'{CARD} own words "{_short(line)}"', DECLARED, f"{claim(line)}, in the publisher's own words")


_TAGS = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)")
# Elements that need no end.
_VOID = frozenset(("br", "hr", "img", "wbr", "input", "source"))


def _unended(lines: Sequence[str]) -> str | None:
    """What markup the lines begin and do not end, so that it would swallow what follows; None if they end all of it."""
    text = "\n".join(lines)
    if sum(line.startswith(("```", "~~~")) for line in lines) % 2:
        return "a block of code"
    if text.count("<!--") != text.count("-->"):
        return "a comment"
    if re.search(r"<(?:style|script|template|plaintext|textarea|xmp|noscript|iframe|object|svg|math)\b", text, re.I):
        return "an element"
    tags = Counter((name.lower(), bool(ends)) for ends, name in _TAGS.findall(text) if name.lower() not in _VOID)
    return "an element" if any(tags[name, True] != tags[name, False] for name, _ in list(tags)) else None


def _with_figures(lines: Sequence[str]) -> Iterator[str]:
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
            stored = read_yaml(read_text(file, LARGEST))
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
