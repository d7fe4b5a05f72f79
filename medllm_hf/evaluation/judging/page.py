"""The report of judge runs as HTML: one page that needs nothing from elsewhere, with every dialogue to read.

The dialogues stand in the page as data; its script shows those that are asked for, as text and never as markup.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from medllm_hf.evaluation.judging import phrases
from medllm_hf.evaluation.judging.derive import Judged, JudgeRun, Unscored
from medllm_hf.evaluation.judging.paired_differences import systems_of
from medllm_hf.evaluation.judging.reasons import unscored_text
from medllm_hf.evaluation.judging.report import judge_sets
from medllm_hf.evaluation.judging.tables import set_name
from medllm_hf.folders import write_text
from medllm_hf.reporting.blocks import Block
from medllm_hf.reporting.html import page_of, pictures
from medllm_hf.reporting.phrases import DEFAULT, Language, Words, say
from medllm_hf.reporting.terms import term

# What could end the element that the data stands in, or a line of a script, as JSON writes it otherwise.
_ESCAPED = str.maketrans({letter: f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"})


def write_page(blocks: list[Block], values: dict, runs: list[JudgeRun], folder: Path, language: Language) -> int:
    """Writes report.html and returns the number of dialogues in it."""
    data = page_data(values, judge_sets(runs), [run for run in runs if not run.is_judged], language)
    write_dialogues(folder, blocks, data, phrases.TITLE if values["sets"] else phrases.TITLE_UNJUDGED, language)
    return sum(len(one["rows"]) for one in data["sets"])


def write_dialogues(folder: Path, blocks: list[Block], data: dict, title: Words, language: Language) -> None:
    """Writes report.html with the dialogues in `data`, see `page_data`, and the pictures in the folder."""
    # The script fills in what stands in braces.
    words = {name: say(phrase, language) for name, phrase in phrases.PAGE.items()}
    render = page_of("evaluation/judging/dialogues")
    shown = {"blocks": blocks, "pictures": pictures(folder), "data": safe_json({**data, "say": words})}
    write_text(folder / "report.html", render(**shown, say=words, title=say(title, language), language=language))


def page_data(
    values: dict, sets: list[list[JudgeRun]], unjudged: Sequence[JudgeRun] = (), language: Language = DEFAULT
) -> dict:
    """What the page's script shows: each transcript once, and each set's rows with the numbers of their system and group.

    Each of the runs that are `unjudged` is a set without criteria.

    A row is [system, case, group, transcript, scores with the overall score last or null, why unscored, replies, attempts,
    lines on the reference].
    """
    numbers: dict[str, int] = {}
    found = []
    for one, runs in zip(values["sets"], sets, strict=True):
        systems = systems_of(runs)
        rows = []
        for place, system in enumerate(systems):
            rows += [[place, *_row(judged, one["groups"], numbers, system.run.told, language)] for judged in system.dialogues]
        found.append(
            {
                "name": say(set_name(one), language),
                "criteria": [say(term(name), language) for name in (*one["rubric"]["criteria"], "overall")],
                "range": [one["rubric"]["low"], one["rubric"]["high"]],
                "systems": [system.name for system in systems],
                "groups": one["groups"],
                "rows": rows,
            }
        )
    for run in unjudged:
        groups = list(dict.fromkeys(one.group for one in run.dialogues))
        names = {"name": say(phrases.UNJUDGED(run=run.name), language), "systems": list(run.systems), "groups": groups}
        rows = [[0, *_row(one, groups, numbers, run.told, language)] for one in run.dialogues]
        found.append({**names, "criteria": [], "range": [0, 1], "rows": rows})
    return {"sets": found, "transcripts": [json.loads(turns) for turns in numbers]}


def _row(judged: Judged, groups: list[str], numbers: dict[str, int], told: Mapping[str, str], language: Language) -> list:
    """What a row has behind the number of its system; a transcript that is new gets the next of the `numbers`."""
    turns = json.dumps([[turn["role"], turn["content"]] for turn in judged.turns], ensure_ascii=False)
    verdict = judged.verdict
    scores = None if isinstance(verdict, Unscored) else [*verdict.scores.values(), verdict.overall]
    reason = say(unscored_text(verdict.reason), language) if isinstance(verdict, Unscored) else None
    case, text = "/".join(filter(None, judged.case)), numbers.setdefault(turns, len(numbers))
    replies = (judged.item["replies"], judged.attempts)
    return [case, groups.index(judged.group), text, scores, reason, *replies, list_reference(judged, told, language)]


def list_reference(judged: Judged, told: Mapping[str, str], language: Language = DEFAULT) -> list[str]:
    """What the judge was told of a case: a text, or each point of its checklist and how often it was met.

    Args:
        told: the texts that are not part of the dialogues, by the dialogues' ids.
    """
    if not isinstance(judged.reference, list):
        return [text for text in (judged.reference, told.get(judged.id)) if text is not None]
    samples = [points for sample in judged.item["samples"] if (points := sample.get("points")) is not None]
    lines = []
    for number, one in enumerate(judged.reference, start=1):
        met = sum(points[f"point_{number}"] > 0 for points in samples)
        said = phrases.MET_IN(n=met, of=len(samples)) if len(samples) > 1 else phrases.MET if met else phrases.NOT_MET
        line = phrases.POINT(met=said if samples else phrases.UNSCORED, point=one["point"], weight=f"{one['weight']:g}")
        lines.append(say(line, language))
    return lines


def safe_json(data: object) -> str:
    """`data` as JSON that may stand in a script element of a page."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPED)
