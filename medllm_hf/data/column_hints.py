"""Says of columns that make no dialogue which they are, and the `--columns` to try where one can be told."""

import re
from collections.abc import Mapping

from medllm_hf.data.columns import Names, is_prose, known, parts_at, plain, value_at
from medllm_hf.data.exam_names import missing_parts
from medllm_hf.data.exam_options import given_options, letter_columns, option_columns, plain_names
from medllm_hf.data.sides import is_beside, side

# A shorter text is a word on the row.
_WORD = 5
# A longer one is what somebody says, in a table without a header.
_LONGEST_NAME = 60
_SAID = re.compile(r"[，。？！；]|\s\S+[.?!]$")
_OR_NAMES = ", or write a first row with the names of the columns if these are texts"
_GIVE = "give files with --columns user=…,assistant=… or messages=…"
# What a shell does not take as it stands.
_FOR_SHELL = re.compile(r"[\s'\"$`&|;<>()*?!#~\\]")
_SHOWN = 4
# Of the names and what to try together, so that a reason is one line.
_LONGEST = 230
# What a question may have in two columns: what it is on, and the whole of it.
_HEAD = re.compile(r"title|topic|subject|headline|标题|標題|主题|主題")
_BODY = re.compile(r"description|desc|content|body|detail|text|描述|内容|內容|详情")
# Two texts of unknown names beside many columns are any.
_FEW = 4


def no_column(row: dict, names: Names) -> str:
    """Says that the columns of a row make no dialogue, which they are, and the `--columns` to try.

    Proposed are the one column that may be a question and the one that may be its answer, a list of turns as the messages, or
    else the only two texts. Options, translations and what tells of a row are never proposed. A row that is one turn of a
    dialogue, or an exam question without an answer, is told so.
    """
    joins = ("user", "assistant")
    missing = [
        path
        for key, path in names.columns.items()
        if key != "system" and not (parts_at(row, path) if key in joins else value_at(row, path) is not None)
    ]
    if missing:
        return f"no column {missing[0]} among the columns {', '.join(list(row)[:12]) or 'none'}"
    columns = known(tuple(row))
    for role in columns["role"]:
        if columns["content"] and str(row[role]).casefold() in names.roles:
            turn = f"the columns {role} and {columns['content'][0]} are one turn, not a dialogue"
            own = f"role={role},content={columns['content'][0]}"
            return f"{turn}; try --columns dialogue=…,{own} with the column that tells dialogues apart, none if a file is one"
    proposal = _proposal(row, columns, names)
    return f"no columns of a dialogue among {_shown(row, _LONGEST - len(proposal)) or 'none'}; {proposal}"


def _shown(row: dict, room: int) -> str:
    """The first names of a row, as many as there is room for, at least two."""
    shown: list[str] = []
    for name in map(_short, list(row)[:12]):
        if len(shown) > 1 and len(", ".join([*shown, name, "…"])) > room:
            break
        shown.append(name)
    return ", ".join(shown) + (", …" if len(row) > len(shown) else "")


def _proposal(row: dict, columns: Mapping[str, tuple[str, ...]], names: Names) -> str:
    flat = all(isinstance(value, str) for value in row.values())  # as the rows of tables are
    if any(len(name) > _LONGEST_NAME or _SAID.search(name) for name in row) or (flat and any(map(str.isdecimal, row))):
        return "write a first row with the names of the columns, such as question and answer"
    found = dict(list(_paths(row))[:200])
    texts = [path for path, value in found.items() if isinstance(value, str) and is_prose(value) and not _is_beside(path)]
    lists = [path for path, value in found.items() if _are_turns(value, names)]
    texts = [path for path in texts if not any(path.startswith(f"{one}.0.") for one in lists)]
    sides = {one: [path for path in texts if _side(path) == one] for one in ("user", "assistant", "passage")}
    users, answers = sides["user"] or sides["passage"], sides["assistant"]
    if given_options(row, plain_names(row)) is not None or len(letter_columns(row)) > 1:
        return _of_options(row)
    if lists and not (users and answers):
        return f"try --columns {quoted(f'messages={lists[0]}')}"
    users = _with_heads(users, found, bool(answers))
    if users and answers:
        options = ", ".join(sorted(option_columns(row)))
        apart = f"options in {options} of other rows: give those rows as a file of their own; for the others "
        return (apart if options else "") + _of_sides(users, answers)
    if users or answers:
        which, other = ("answer", users) if users else ("question", answers)
        return f"none of them looks like the {which} beside {', '.join(map(_short, other[:_SHOWN]))}; {_GIVE}"
    if len(texts) == 2 and len(row) <= _FEW:
        usual = any(columns.values()) or "".join(row).isascii() and all(map(str.isidentifier, row))
        return f"try --columns {quoted(f'user={texts[0]},assistant={texts[1]}')}{_OR_NAMES if flat and not usual else ''}"
    return f"none of them looks like a question or an answer; {_GIVE}"


def _of_options(row: dict) -> str:
    """What a row with options lacks to be an exam question."""
    missing = missing_parts(row)
    if missing == ["question"]:
        return "options, and no column that is surely the question: name it `question`"
    if missing == ["answer"]:
        return "options, and no column that tells which is right: fill one named `answer`"
    return "options, and no column that tells which is right: fill one named `answer`, and name the question `question`"


def _with_heads(users: list[str], found: Mapping[str, object], answered: bool) -> list[str]:
    """The columns of the question: joined to what it is on, where that asks too; or title and text, where none else asks."""
    texts = {path: value for path, value in found.items() if isinstance(value, str) and len(value) > _WORD and is_prose(value)}
    last = {path: plain(path.rpartition(".")[2]) for path in texts}
    heads = [path for path in texts if _HEAD.search(last[path]) and path not in users]
    bodies = [path for path in texts if _BODY.search(last[path]) and path not in heads]
    if len(users) == 1 and len(heads) == 1 and texts[heads[0]].rstrip().endswith(("?", "？", "吗", "呢")):
        return [f"{heads[0]}+{users[0]}"]
    if answered and not users and len(heads) == 1 and len(bodies) == 1 and _side(bodies[0]) != "assistant":
        return [f"{heads[0]}+{bodies[0]}"]
    return users


def _of_sides(users: list[str], answers: list[str]) -> str:
    """What to try of columns that may be the question and such that may be the answer: a pair, or a choice."""
    if len(users) == len(answers) == 1:
        return f"try --columns {quoted(f'user={users[0]},assistant={answers[0]}')}"
    alike = [(user, answer) for user in users for answer in answers if _rest(user) == _rest(answer)]
    several = [
        f"several may be the {which} ({', '.join(map(_short, paths[:_SHOWN]))}{', …' if len(paths) > _SHOWN else ''})"
        for which, paths in (("question", users), ("answer", answers))
        if len(paths) > 1
    ]
    user, answer = alike[0] if alike else (users[0] if len(users) == 1 else "…", answers[0] if len(answers) == 1 else "…")
    choose = "choose, such as" if alike else "choose with"
    return f"{' and '.join(several)}: {choose} --columns {quoted(f'user={user},assistant={answer}')}"


def _rest(path: str) -> frozenset[str]:
    """The words in a name that are no side's."""
    return frozenset(word for word in re.findall(r"\w+?(?=_|\b)", path.casefold()) if side(word) == "none")


def _side(path: str) -> str:
    """The side that the last name of a path says, else the first before it that says one."""
    parts = [part for part in reversed(path.split(".")) if not part.isdecimal()]
    return next((one for one in map(side, parts) if one not in ("none", "beside")), "none")


def _is_beside(path: str) -> bool:
    parts = [part for part in path.split(".") if not part.isdecimal()]
    return not parts or is_beside(parts[-1]) or any(option_columns({part: ""}) for part in parts)


def _are_turns(value: object, names: Names) -> bool:
    """Whether a list begins with what may be a turn, or a round."""
    first = value[0] if isinstance(value, list) and value else None
    if isinstance(first, list):
        return len(first) == 2 and all(isinstance(text, str) for text in first)
    if not isinstance(first, dict):
        return False
    columns = known(tuple(first))
    rounds = bool(columns["user"] and columns["assistant"]) or any(name.casefold() in names.roles for name in first)
    return rounds or bool(columns["role"] and columns["content"] and isinstance(first[columns["role"][0]], str))


def quoted(columns: str) -> str:
    """The columns as they are written for a shell."""
    if not _FOR_SHELL.search(columns):
        return columns
    return f'"{columns}"' if not re.search(r'["$`\\!]', columns) else "'" + columns.replace("'", "'\\''") + "'"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…"


def _paths(row: dict, before: str = "", depth: int = 0) -> list[tuple[str, object]]:
    """The paths in a row and what stands there; of a list of objects those of the first too."""
    found: list[tuple[str, object]] = []
    for name, value in list(row.items())[:200]:
        if "," in name or not name or name != name.strip():
            continue  # `--columns` cannot name it
        if isinstance(value, dict) and depth < 2:
            found += _paths(value, f"{before}{name}.", depth + 1)
            continue
        found.append((f"{before}{name}", value))
        if isinstance(value, list) and value and isinstance(value[0], dict) and depth < 2:
            found += _paths(value[0], f"{before}{name}.0.", depth + 1)
    return found
