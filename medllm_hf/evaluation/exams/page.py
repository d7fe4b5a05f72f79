"""The report as HTML: one page that needs nothing from elsewhere, with the wrong and unparsed questions to browse.

More questions than fit one page go on further pages. Jinja escapes everything that is put in, and the page's content
security policy lets no script run but its own.
"""

from collections.abc import Iterator
from pathlib import Path

from medllm_hf.evaluation.exams import phrases
from medllm_hf.evaluation.exams.derive import Answer, Run, reading_of
from medllm_hf.folders import write_text
from medllm_hf.reporting.blocks import Block
from medllm_hf.reporting.html import page_of, pictures
from medllm_hf.reporting.phrases import DEFAULT, Language, Text, say

# What a browser lays out without a pause, and what a phone loads.
MOST_ITEMS, MOST_LETTERS = 1000, 4_000_000
RIGHT, WRONG, UNPARSED, ABSENT = "r", "w", "u", "-"


def write_pages(blocks: list[Block], values: dict, runs: list[Run], folder: Path, language: Language) -> int:
    """Writes report.html and, where the questions need them, report-2.html and so on; returns the number of questions."""
    render = page_of("evaluation/exams/report")
    by_name = {run.name: run for run in runs}
    datasets = [[by_name[name] for name in dataset["runs"]] for dataset in values["datasets"]]
    names = [run.name for members in datasets for run in members]
    entries = [entry for members in datasets for entry in failed_items(members, names, language)]
    pages = list(paged(entries)) or [[]]
    files = ["report.html", *(f"report-{number}.html" for number in range(2, len(pages) + 1))]
    shown = pictures(folder)
    before = 0
    for number, (file, page) in enumerate(zip(files, pages, strict=True), start=1):
        text = render(
            blocks=blocks if number == 1 else [],
            pictures=shown,
            page=page,
            subjects=sorted({entry["subject"] for entry in page}),
            runs=names,
            names=files,
            number=number,
            total=len(entries),
            language=language,
            say=_page_words(number, range(before + 1, before + len(page) + 1), len(entries), language),
        )
        write_text(folder / file, text)
        before += len(page)
    return len(entries)


def _page_words(number: int, shown: range, total: int, language: Language) -> dict[str, str]:
    """What the page says of its own accord; `shown` are the numbers of its questions, of `total`."""
    first, last = (f"{end:,}" for end in (shown.start, shown.stop - 1))
    parts: dict[str, dict[str, object]] = {
        "page": {"number": number},
        "shown": {"first": first, "last": last, "total": f"{total:,}"},
        "counted": {"count": "{count}", "all": "{all}"},  # which the script fills in
    }
    return {name: say(phrase(**parts.get(name, {})), language) for name, phrase in phrases.PAGE.items()}


def failed_items(members: list[Run], runs: list[str], language: Language = DEFAULT) -> Iterator[dict]:
    """What the page shows of each question that some run of one dataset answered wrongly or unreadably."""
    by_name = {run.name: run for run in members}
    for name in dict.fromkeys(name for run in members for name in run.items):
        answered = {run.name: run.items[name] for run in members if name in run.items}
        marks = [_mark(answered[run]) if run in answered else ABSENT for run in runs]
        if WRONG not in marks and UNPARSED not in marks:
            continue
        first = next(iter(answered.values()))[0]
        right = first.own(first.reference)
        options = [(letter, text, letter in right) for letter, text in first.own_options.items()]
        yield {
            "id": name,
            "dataset": members[0].manifest["data"]["name"],
            "subject": first.shown.item.subject,
            "question": first.shown.item.question,
            "options": options,
            "right": right,
            "marks": "".join(marks),
            "answers": [_answer(by_name[run], rows, _mark(rows), language) for run, rows in answered.items()],
        }


def _mark(rows: list[Answer]) -> str:
    """Of a question with rotations: right when all are, else what the first that is not right is."""
    deciding = next((answer for answer in rows if not answer.right), None)
    return RIGHT if deciding is None else UNPARSED if deciding.choice is None else WRONG


def _answer(run: Run, rows: list[Answer], mark: str, language: Language) -> dict:
    shown = next((answer for answer in rows if not answer.right), rows[0])
    said: list[Text] = []
    if shown.choice is not None and shown.own_choice != shown.choice:
        said.append(phrases.SHOWN_AS(letters=shown.choice))
    if len(rows) > 1:
        said.append(phrases.ROTATIONS(letters=" ".join(answer.own_choice or "?" for answer in rows)))
    notes = [say(note, language) for note in said]
    second = run.finished.get(shown.shown.key)
    again = second and _told(second, _mark([second]), [], "endpoint" not in run.manifest["model"])
    return {"run": run.name, "second": again, **_told(shown, mark, notes, reading_of(run.manifest) == "likelihood")}


def _told(answer: Answer, mark: str, notes: list[str], compared: bool) -> dict:
    """An answer and what was written: None where that is nothing but the letters, or where their probabilities decide."""
    reply = None if compared or answer.reply == answer.choice else answer.reply
    tie = compared and answer.choice is None
    return {"mark": mark, "choice": answer.own_choice, "notes": notes, "reply": reply, "tie": tie}


def paged(entries: list[dict]) -> Iterator[list[dict]]:
    """The entries, cut into pages of bounded number and length."""
    page: list[dict] = []
    letters = 0
    for entry in entries:
        said = [said for answer in entry["answers"] for said in (answer, answer["second"]) if said]
        size = len(entry["question"]) + sum(len(one["reply"] or "") for one in said)
        if page and (len(page) == MOST_ITEMS or letters + size > MOST_LETTERS):
            yield page
            page, letters = [], 0
        page.append(entry)
        letters += size
    if page:
        yield page
