"""What a built dataset says of itself: README card, screening.md, picture of the lengths, and the lines on the screen."""

import html
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from medllm_hf.data.mcq import McqItem
from medllm_hf.data.screening.chunk import Overlap
from medllm_hf.data.screening.decontamination import SHORTEST
from medllm_hf.data.screening.near_duplicates import GRAM, NEIGHBOURS, ONE_SIDE, SIMILAR
from medllm_hf.data.screening.pii.masking import KINDS, NOT_LOOKED_FOR
from medllm_hf.data.settings import Options
from medllm_hf.data.splits import Written
from medllm_hf.data.unread import unread_lines
from medllm_hf.folders import project_file

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))
# Of what may be endless, the lines that a page shows; problems.jsonl has all.
SHOWN_SOURCES, SHOWN_HITS, SHOWN_REASONS = 50, 1_000, 20
_TEXT = 160


@dataclass(frozen=True)
class QuestionSet:
    """Held-out questions; `origin` is the hash of their file, or the revision on the Hub, `left_out` what is in it besides."""

    name: str
    items: tuple[McqItem, ...]
    origin: str
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """What the pages are written from. `inputs` are (file, SHA-256, what it was read as);
    `rejections` and `repairs` are the reasons, how often and with an example each; `left` are the columns that were not read
    and how many rows fill them.

    counts: read, accepted, repaired, rejected, control, personal, exact, overlap, near, clusters, clustered; see
        `chunk.Screened` and `splits.decide`.
    """

    options: Options
    counts: Counter[str]
    kinds: Counter[str]
    written: Written
    inputs: list[tuple[str, str, str]]
    rejections: list[str]
    repairs: list[str]
    left: Counter[str]
    sets: list[QuestionSet]
    unsearched: int
    not_compared: int


def place(names: list[str], columns: dict[str, np.ndarray], row: int) -> str:
    """FILE:LINE of a row of the first pass."""
    return f"{names[columns['file'][row]]}:{columns['line'][row]}"


def screen_lines(summary: Summary, out: str) -> list[str]:
    """What is said at the end of a build into `out`: rows read, found, written and left out."""
    counts = summary.counts
    left_out = [f"{count} {name}" for name, count in losses(summary) if count]
    sizes = ", ".join(f"{name} {part['dialogues']}" for name, part in summary.written.splits.items())
    held_out = f"in {counts['overlap']}" if summary.sets else "not looked for (--benchmarks)"
    return [
        f"read {counts['read']}: accepted {counts['accepted']}, repaired {counts['repaired']}, rejected {counts['rejected']}",
        *(f"repaired {line}" for line in summary.repairs[:SHOWN_REASONS]),
        *(f"rejected {line}" for line in summary.rejections[:SHOWN_REASONS]),
        *unread_lines(summary.left, SHOWN_REASONS),
        f"personal data in {counts['personal']} dialogues, held-out questions {held_out}",
        f"wrote {out}: {sizes}; left out: {', '.join(left_out) or 'nothing'}",
    ]


def losses(summary: Summary) -> list[tuple[str, int]]:
    """(why, how many rows) were left out, in the order in which it was decided; read minus all of them were written."""
    counts, options = summary.counts, summary.options
    return [
        ("rejected", counts["rejected"]),
        ("with personal data", counts["personal"] if options.on_personal_data == "drop" else 0),
        ("exact duplicates", counts["exact"]),
        ("with held-out questions", counts["overlap"] if options.on_overlap == "drop" else 0),
        ("near-duplicates", counts["near"] if options.near_duplicates == "drop" else 0),
    ]


def card(summary: Summary) -> str:
    """The dataset card: `dataset_cards/dialogues.md` with the figures of this dataset."""
    splits, options = summary.written.splits, summary.options
    total = sum(part["dialogues"] for part in splits.values())
    return (
        project_file("dataset_cards/dialogues.md")
        .read_text(encoding="utf-8")
        .format(
            license=options.license,
            size=next((name for limit, name in SIZES if total < limit), "n>10M"),
            data_files="\n".join(f"  - split: {name}\n    path: data/{file}" for name, file in summary.written.files.items()),
            splits=_table(
                ("split", "dialogues", "turns", "characters"),
                [(name, part["dialogues"], part["turns"], part["characters"]) for name, part in splits.items()],
            ),
            sources=_sources(summary.written.sources),
            steps=_steps(summary, total),
            repaired=_reasons("Repaired", summary.counts["repaired"], summary.repairs),
            rejections=_reasons("Rejected", summary.counts["rejected"], summary.rejections),
            left="\n".join(map(_plain, _left(summary))),
            screening="\n".join(f"- {line}" for line in (*_results(summary), *_results_chinese(summary))),
            settings=f"`--test-fraction {options.test_fraction} --seed {options.seed}`",
            hashes="\n".join(f"- `{_plain(name)}`: `{digest}` ({_plain(kind)})" for name, digest, kind in summary.inputs),
        )
    )


def _sources(sources: Counter[str]) -> str:
    shown = sorted(sources.items(), key=lambda source: (-source[1], source[0]))
    rows = shown[:SHOWN_SOURCES]
    if len(shown) > SHOWN_SOURCES:
        rows.append((f"{len(shown) - SHOWN_SOURCES} others", sum(count for _, count in shown[SHOWN_SOURCES:])))
    return _table(("source", "dialogues"), rows)


def _steps(summary: Summary, total: int) -> str:
    steps = [("read", summary.counts["read"]), *((f"left out: {name}", count) for name, count in losses(summary))]
    return _table(("step", "rows"), [*steps, ("written", total)])


def _reasons(verdict: str, count: int, lines: list[str]) -> str:
    if not lines:
        return f"No row was {verdict.lower()}."
    more = [f"- and {len(lines) - SHOWN_REASONS} other reasons"] if len(lines) > SHOWN_REASONS else []
    shown = [f"- {_plain(line)}" for line in lines[:SHOWN_REASONS]]
    return "\n".join([f"{verdict} {count}, by reason, with an example each:", "", *shown, *more])


def _left(summary: Summary) -> list[str]:
    return unread_lines(summary.left, SHOWN_REASONS) or ["Every column with a text in it was read."]


def _results(summary: Summary) -> list[str]:
    counts, options = summary.counts, summary.options
    personal = f"Personal data: found in {counts['personal']} dialogues"
    if counts["personal"]:
        personal += " (" + ", ".join(f"{kind} {count}" for kind, count in sorted(summary.kinds.items())) + ")"
    treated = "masked" if options.on_personal_data == "mask" else "these dialogues were left out"
    lines = [
        f"{personal}; {treated}. The screening knows phone, identity and card numbers, WeChat and QQ ids, e-mail and links by "
        f"their form and their label. Not looked for: {NOT_LOOKED_FOR}.",
        f"Exact duplicates, compared without white space, width and case: {counts['exact']} left out.",
    ]
    if options.near_duplicates == "off":
        lines.append("Near-duplicates were not looked for.")
    else:
        done = "left out" if options.near_duplicates == "drop" else "kept"
        lines.append(
            f"Near-duplicates (estimated Jaccard similarity of character {GRAM}-grams at least {SIMILAR}): {counts['near']} "
            f"{done}. Dialogues that are alike from {ONE_SIDE} up are in one split: {counts['clusters']} clusters of "
            f"{counts['clustered']} dialogues."
        )
    if not summary.sets:
        lines.append("No held-out questions were looked for.")
    for asked in summary.sets:
        besides = ", ".join(f"{count} {kind}" for kind, count in asked.left_out.items())
        besides = f"; not for the others there: {besides}" if besides else ""
        lines.append(f"Looked for the {len(asked.items)} questions of {_plain(asked.name)} (`{asked.origin}`){besides}.")
    if summary.sets:
        done = (", left out" if options.on_overlap == "drop" else ", kept") if counts["overlap"] else ""
        lines.append(f"Dialogues that hold one of these questions: {counts['overlap']}{done}.")
    if counts["control"]:
        lines.append(f"{counts['control']} dialogues spell control tokens; the chat templates of medllm_hf neutralise them.")
    return lines


def _results_chinese(summary: Summary) -> list[str]:
    """What `_results` says, in Chinese."""
    counts, options = summary.counts, summary.options
    treated = "已遮盖" if options.on_personal_data == "mask" else "这些对话已略去"
    left_out = {True: "已略去", False: "已保留"}
    lines = [
        f"个人信息：见于 {counts['personal']} 段对话，{treated}。按格式和标签查找电话、证件号、卡号、微信号、QQ 号、邮箱和"
        "链接；不查找人名、地址以及病历号、就诊号、订单号。",
        f"完全重复（忽略空白、全半角和大小写）：略去 {counts['exact']} 段。",
    ]
    if options.near_duplicates == "off":
        lines.append("未查找近似重复。")
    else:
        lines.append(
            f"近似重复（字符 {GRAM} 元组的 Jaccard 相似度估计不低于 {SIMILAR}）：{counts['near']} 段，"
            f"{left_out[options.near_duplicates == 'drop']}；相似度 {ONE_SIDE} 以上的对话划入同一部分："
            f"{counts['clusters']} 组共 {counts['clustered']} 段。"
        )
    if not summary.sets:
        return [*lines, "未查找评测题目。"]
    number = sum(len(asked.items) for asked in summary.sets)
    found = f"查找 {number} 道评测题目：{counts['overlap']} 段对话含有其中的题目"
    return [*lines, found + (f"，{left_out[options.on_overlap == 'drop']}。" if counts["overlap"] else "。")]


def screening(
    summary: Summary,
    examples: list[tuple[str, str, str]],
    pairs: list[tuple[str, str, float, str, str]],
    hits: list[tuple[str, Overlap, str, McqItem]],
) -> str:
    """The page screening.md.

    Args:
        examples: (kind, place, masked text) of personal data.
        pairs: (place, place, estimated similarity, text, text) of near-duplicates.
        hits: (place, overlap, file of the question, question).
    """
    total = sum(part["dialogues"] for part in summary.written.splits.values())
    lines = ["# Screening", "", _steps(summary, total), "", *(f"- {line}" for line in _results(summary))]
    lines.append(
        "- Each row that was rejected, repaired, masked, left out or kept as a near-duplicate has a line in `problems.jsonl`."
    )
    lines += ["", _reasons("Rejected", summary.counts["rejected"], summary.rejections)]
    lines += ["", _reasons("Repaired", summary.counts["repaired"], summary.repairs), "", *map(_plain, _left(summary))]
    found = [(kind, summary.kinds[kind], stands) for kind, stands in KINDS.items()]
    lines += ["", "## Personal data", "", _table(("kind", "found", "placeholder"), found)]
    if examples and summary.options.on_personal_data == "mask":
        lines += ["", _table(("kind", "dialogue", "masked text"), examples)]
    lines += ["", "## Near-duplicates", ""]
    if summary.not_compared:
        text = (
            f"{summary.not_compared} pairs were not compared, because more than {NEIGHBOURS} other dialogues lay between them."
        )
        lines += [text, ""]
    if pairs:
        rows = [(f"{share:.2f}", f"{first}: {text}", f"{second}: {twin}") for first, second, share, text, twin in pairs]
        lines.append(_table(("similarity", "dialogue", "twin"), rows))
    else:
        lines.append("None to show.")
    lines += ["", "## Held-out questions", ""]
    if summary.unsearched:
        lines += [f"{summary.unsearched} questions with stems below {SHORTEST} letters were not looked for.", ""]
    if hits:
        texts = [
            (f"{where} turn {hit.turn}", hit.excerpt, f"{name} {item.id}", _twin(item), hit.edits)
            for where, hit, name, item in hits[:SHOWN_HITS]
        ]
        lines.append(_table(("dialogue", "its text", "question", "twin", "edits"), texts))
    else:
        lines.append("None found.")
    if len(hits) > SHOWN_HITS:
        lines += ["", f"{len(hits) - SHOWN_HITS} more are in `problems.jsonl`."]
    return "\n".join([*lines, ""])


def histogram(lengths: np.ndarray, path: Path) -> None:
    """Draws how long the dialogues are; the last bar holds all that are longer than 99% of them."""
    most = max(int(np.quantile(lengths, 0.99)), 10)
    figure = Figure(figsize=(6.4, 3.2))
    axes = figure.subplots()
    axes.hist(np.minimum(lengths, most), bins=40, range=(0, most), color="#4477aa")
    axes.set_xlabel("characters in a dialogue (the last bar: and more)")
    axes.set_ylabel("dialogues")
    axes.set_title(f"n = {len(lengths):,}, median {int(np.median(lengths))}", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _table(head: tuple[str, ...], rows: Iterable[tuple]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(_plain(str(cell)) for cell in line) + " |" for line in lines)


def _plain(text: str) -> str:
    """`text` on one line, without markup, pictures and column breaks."""
    text = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"&#{ord(char)};" if char in "|`*[" else char for char in text)


def _twin(item: McqItem) -> str:
    text = " ".join([item.question, *(f"{letter}. {option}" for letter, option in item.options.items())])
    return text if len(text) <= _TEXT else text[:_TEXT] + "…"
