"""The parts of an exam question under the names and in the forms that sources give them: columns, options, answers, kinds."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from reprlib import repr as shortened

from medllm_hf.data.exam_names import ANSWER, PASSAGE, QUESTION, filled_column, is_folded, names_of, position, unfolded
from medllm_hf.data.exam_options import (
    LETTER_COLUMN,
    MARK,
    SPACES,
    checked_text,
    first_filled,
    given_options,
    letter_columns,
    marked_right,
    option_columns,
    options_within,
    read_options,
)
from medllm_hf.data.pictures import check_columns, check_texts
from medllm_hf.errors import kind_of

_ALONE = re.compile(r"(?=.*[A-Z])[A-Z\s,;/|&.:()\[\]]{1,26}")
_KIND = (
    "kind",
    *("questiontype", "题型", "题目类型", "试题类型", "题目類型", "題型", "type", "类型"),
)
_SUBJECT = ("subject", "subjectname", "metainfo", "examclass", "clinicaldepartment", "科目", "学科", "科室", "category")
_ID = ("id", "qid")
_KINDS = (
    # Of "multiple choice" one may be right.
    ("multi", re.compile(r"multi(?!ple[\s_-]*choice)|多选|多项选|不定项|x型", re.IGNORECASE)),
    ("single", re.compile(r"single|单选|单项选|最佳选|[abc][1-4]?型", re.IGNORECASE)),
)
# What may stand between or around the letters of an answer, after full-width signs have become narrow ones.
_BETWEEN_LETTERS = re.compile(r"""[\s,、;/|+&.。()\[\]"'`]|和|与|及""")
# Before an answer: "Answer: B", "正确答案是B", "故选B".
_SAYS = re.compile(
    r"\s*(?:(?:the\s+)?(?:correct\s+|right\s+)?(?:answer|option|choice)\b(?:\s+is\b)?"
    r"|(?:正确|标准|参考)?答案(?:是|为|选)?|(?:故|应)?选项?(?:择)?)\s*(?:[:：]\s*)?(?=\S)",
    re.IGNORECASE,
)
_BEFORE_OPTIONS = re.compile(r"(?:(?:answer )?(?:options|choices)|选项(?:如下)?) ?[:：]?$", re.IGNORECASE)
# Chinese, Japanese and Korean signs.
_EAST_ASIAN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")
# Between the texts of several right options.
_LISTED = re.compile(r"[|;；\n]")
OUTVOTED = 20
# So many Latin letters for each sign of East Asia are of an English question that quotes one.
_LATIN = 20
_UNTOLD = "answer {} is a position, and the answers do not tell whether they count from 0 or from 1: write letters"
Positions = Callable[[], int | None]


def is_exam_row(row: dict) -> bool:
    """Whether a row has a question, options and an answer, under whatever names; or options in the question and letters."""
    row = unfolded(row)
    names = names_of(row)
    question, answer = first_filled(row, names, QUESTION), first_filled(row, names, ANSWER)
    given = given_options(row, names)
    if question is not None and marked_right(given) is not None:
        return True
    if question is None or answer is None:
        return False
    if given is not None or len(letter_columns(row)) > 1:
        return True
    letters = answer[0] if isinstance(answer, list) and len(answer) == 1 else answer
    short = isinstance(letters, str) and _ALONE.fullmatch(letters) is not None
    return short and isinstance(question, str) and options_within(question) is not None


def exam_fields(row: dict, positions: Positions) -> dict:
    """The fields id, question, options, answer (letters), subject, kind and language of a row.

    Options are an object of letter and text, a list of texts or of label and text, `{"label": [...], "text": [...]}`, lines or
    one line of lettered texts, or columns A, opa, option_A, optionA, 选项A and so on; those without a text at the end are left
    out. An answer is letters, the column or the text of an option, or positions, which count from `positions()`.

    Raises:
        NeedsImage: the question comes with a picture.
        ValueError: which part is wrong and why.
    """
    row = unfolded(row)
    names = names_of(row)
    check_columns(row, names)
    flags = marked_right(given_options(row, names))
    for part, wanted in (("question", QUESTION), ("answer", ANSWER)):
        if not any(name in names for name in wanted) and (part == "question" or flags is None):
            found = ", ".join(shortened(name) for name in list(row)[:8])
            raise ValueError(f"{part} is not among the columns {found or 'none'}; a table begins with a row of such names")
    asked = first_filled(row, names, QUESTION)
    if isinstance(asked, dict):
        raise ValueError(
            f"question is an object of {', '.join(map(str, asked))}, of which one is the text: write it there alone"
        )
    question = checked_text(asked, "question")
    within = options_within(question)
    check_texts(within[0] if within else question, [])
    question, labels, options = _stem_and_options(row, names, question, within)
    check_texts(question, options.values())
    kind = _kind(row, names)
    if flags is None:
        answer = _answer(row, names, labels, options, kind, positions)
    else:
        answer = "".join(letter for letter, right in zip(options, flags, strict=False) if right)
    if not answer or not set(answer) <= set(options) or len(set(answer)) != len(answer):
        said = "flags of the options" if flags is not None else shortened(first_filled(row, names, ANSWER))
        raise ValueError(f"answer {said} does not name options {', '.join(options)}")
    language = _language(row, question, options)
    return {
        "id": _name(first_filled(row, names, _ID), "id"), "question": question, "options": options, "answer": answer,
        "subject": _name(first_filled(row, names, _SUBJECT), "subject"), "kind": kind, "language": language,
    }  # fmt: skip


def exam_columns(row: dict) -> set[str]:
    """The columns of an exam row that are read: of its question, its options, its answer and its kind."""
    folded = [name for name in row if is_folded(row[name])][:1]
    if folded:
        return {*folded, *exam_columns(unfolded(row))}
    names = names_of(row)
    parts = (QUESTION, PASSAGE, ANSWER, ("answer",), ("text",))
    read = {filled_column(row, names, part) for part in parts} | {names[name] for name in _KIND if name in names}
    return (
        {name for name in read if name is not None}
        | option_columns(row)
        | ({names["options"]} if "options" in names else set())
    )


def position_base(rows: Iterable[object]) -> int | None:
    """0 or 1, from which the answers of these rows count that are positions of options; None where nothing tells.

    Some first option is right in a file that counts from 0, and some last one in a file that counts from 1. Where both are
    seen, a few are slips (0 for no answer, say), and those for one side must be at least OUTVOTED times those for the other.
    """
    votes = [0, 0]
    for row in rows:
        if isinstance(row, dict) and is_exam_row(row):
            row = unfolded(row)
            names = names_of(row)
            try:
                found, count = (
                    _positions(first_filled(row, names, ANSWER)),
                    len(read_options(row, given_options(row, names))[1]),
                )
            except ValueError:
                continue
            votes[0] += 0 in found
            votes[1] += count in found
    fewer, more = sorted(votes)
    return votes.index(more) if more and more >= OUTVOTED * fewer else None


def answer_letters(answer: object) -> str:
    """The letters of an answer as sources write it ("b", "ＡＢ", "A,B", "A、B和D", ["A", "B"]), in capitals.

    Raises:
        ValueError: it is not text or a list of texts.
    """
    parts = answer if isinstance(answer, list) else [answer]
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) < len(parts):
        raise ValueError(f"answer {shortened(answer)} is not letters")
    return _BETWEEN_LETTERS.sub("", unicodedata.normalize("NFKC", "".join(texts)).upper())


def _stem_and_options(
    row: dict, names: dict[str, str], question: str, within: tuple[str, dict[str, str]] | None
) -> tuple[str, dict[str, str], dict[str, str]]:
    """The question with what it is about before it and without the options in it, and what `read_options` says of these."""
    given = given_options(row, names)
    if given is None and len(letter_columns(row)) < 2 and within:
        question, given = within
    labels, options = read_options(row, given)
    if within and list(within[1].values()) == list(options.values()):
        # The options stand in the question besides, in the letters that they have there.
        question = _BEFORE_OPTIONS.sub("", within[0]).strip()
    passage = first_filled(row, names, PASSAGE)
    if passage is None and "text" in names and first_filled(row, names, QUESTION) != row[names["text"]]:
        passage = row[names["text"]]  # the case, unless it is all of it
        passage = passage if isinstance(passage, str) and question not in passage else None
    if isinstance(passage, list) and all(isinstance(part, str) for part in passage):
        passage = "\n".join(passage)
    if isinstance(passage, str) and len(passage) > 9 and passage.strip() not in question:
        question = f"{passage.strip()}\n{question}"
    return question, labels, options


def _language(row: dict, question: str, options: dict[str, str]) -> str:
    """zh or en, that of the words around a question: what the row says, else English where hardly a sign is of East Asia."""
    own = row.get("language")
    if own in ("zh", "en"):
        return own
    text = question + "".join(options.values())
    latin, eastern = len(re.findall("[A-Za-z]", question)), len(_EAST_ASIAN.findall(text))
    return "en" if latin > _LATIN * eastern else "zh"


def _kind(row: dict, names: dict[str, str]) -> str | None:
    """single or multi as the first column says it that says either, None where none does: a kind may be a topic, too."""
    own = row.get("kind")
    if own is not None and not isinstance(own, str | int | float):
        raise ValueError(f"kind {shortened(own)} is not a text")
    said = [value for name in _KIND if name in names and isinstance(value := row[names[name]], str)]
    return next((kind for value in said for kind, words in _KINDS if words.search(value)), None)


def _answer(
    row: dict, names: dict[str, str], labels: dict[str, str], options: dict[str, str], kind: str | None, positions: Positions
) -> str:
    """The letters of the right options, "" where the answer names none.

    Raises:
        ValueError: it is nothing that names options, can be read in two ways, or another column gives another answer.
    """
    answer = first_filled(row, names, ANSWER)
    label = answer[0] if isinstance(answer, list) and len(answer) == 1 else answer
    # An option's own number is its label, and no position.
    label = str(label) if isinstance(label, int) and not isinstance(label, bool) else label
    if isinstance(label, str) and label.strip() in labels and not _is_from_zero(row, names, label, positions):
        letters = labels[label.strip()]
    elif places := _positions(answer):
        _check_choice(answer, [str(place) for place in places], options)
        letters = _at_positions(answer, places, options, positions)
    else:
        letters = _letters_or_texts(answer, labels, options, kind)
        _check_choice(answer, letters, options)
    for said in (row[names[name]] for name in ("answer", "correctanswer") if name in names):
        if (named := _named(said, options)) and len(letters) == 1 and letters != answer_letters(said) and named != letters:
            raise ValueError(f"answer is not the text of option {letters}")
        if isinstance(said, str) and said.strip().upper() in {*options} - {letters} and len(letters) == 1 and not named:
            raise ValueError(f"answer {shortened(said)} beside another that is {letters}: name the right one `answer`")
    return letters


def _is_from_zero(row: dict, names: dict[str, str], label: str, positions: Positions) -> bool:
    """Whether a number is a position that counts from 0, beside options that are called 1, 2 and so on.

    Raises:
        ValueError: it is called an index, and the file does not tell.
    """
    if not label.strip().isdecimal():
        return False
    column = filled_column(row, names, ANSWER) or ""
    first = positions()
    if first is None and re.search("ind(?:ex|ice)|idx", column, re.IGNORECASE):
        raise ValueError(_UNTOLD.format(label))
    return first == 0


def _check_choice(answer: object, chosen: Sequence[str], options: dict[str, str]) -> None:
    """Check that an answer that names all options does not put them into an order, which is another kind of question.

    Raises:
        ValueError: it does.
    """
    numbers = all(one.isdecimal() for one in chosen)
    whole = len(chosen) == len(options) > 2 and len({*chosen}) == len(chosen) and (numbers or {*chosen} <= options.keys())
    if whole and list(chosen) != sorted(chosen):
        raise ValueError(f"answer {shortened(answer)} is an order of the options, not a choice among them")


def _at_positions(answer: object, places: list[int], options: dict[str, str], positions: Positions) -> str:
    named = _named(answer, options)
    if named and not {*places} & {*range(len(options) + 1)}:
        return named  # no option is the sixteenth
    first = positions()
    if first is None:
        raise ValueError(_UNTOLD.format(shortened(answer)))
    letters = "".join(letter for place, letter in enumerate(options, start=first) if place in places)
    if named and named != letters:
        raise ValueError(f"answer {shortened(answer)} is an option's text and another's position: write its letter")
    return letters if len(letters) == len(places) else ""


def _letters_or_texts(answer: object, labels: dict[str, str], options: dict[str, str], kind: str | None) -> str:
    if isinstance(answer, str) and (parts := [part.strip() for part in _LISTED.split(answer)])[1:] and _named(parts, options):
        answer = parts
    if isinstance(answer, str) and not _named(answer, options):
        answer = answer[said.end() :] if (said := _SAYS.match(answer)) else answer
    column = LETTER_COLUMN.fullmatch(SPACES.sub("", answer)) if isinstance(answer, str) else None
    letters = labels.get(column[1], column[1].upper()) if column else answer_letters(answer)
    named = _named(answer, options)
    if not set(letters) <= set(options) or not named or named == letters:
        return named or letters
    # An option may read AB, as a blood group does.
    if len(letters) > 1 and kind is None:
        raise ValueError(f"answer {shortened(answer)} is letters and an option's text: give the kind, single or multi")
    return letters if len(letters) == 1 or kind == "multi" else named


def _positions(answer: object) -> list[int]:
    """The positions that an answer names: whole numbers, or digits of at most two places; none where it is anything else."""
    parts = answer if isinstance(answer, list) else [answer]
    places = [place for part in parts if (place := position(part)) is not None]
    return places if len(places) == len(parts) else []


def _named(answer: object, options: dict[str, str]) -> str:
    """The letters of the options whose texts these are, with or without a letter before them; "" where one is none."""
    parts = answer if isinstance(answer, list) else [answer]
    found = [_of_text(part, options) if isinstance(part, str) else "" for part in parts]
    return "".join(found) if all(found) else ""


def _of_text(answer: str, options: dict[str, str]) -> str:
    texts = {letter: _bare(text) for letter, text in options.items()}
    bare = _bare(answer)
    found = [letter for letter, text in texts.items() if text == bare]
    marked = re.match(rf"[(\[【]?([A-Za-z]){MARK}+", bare)
    if not found and marked and texts.get(marked[1].upper()) == bare[marked.end() :]:
        return marked[1].upper()
    return found[0] if len(found) == 1 else ""


def _bare(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip(" \t\n.。;；")


def _name(value: object, field: str) -> str:
    if value is not None and not isinstance(value, str | int | float):
        raise ValueError(f"{field} is {kind_of(value)}, not a text")
    if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError(f"{field} is not Unicode text")
    return "" if value is None else str(value)
