"""A table that JSON holds by its columns → its rows."""

from collections.abc import Mapping

from medllm_hf.data.columns import known

# Of an object with questions for names.
_FEWEST, _SHORTEST, _ASKS = 3, 4, 0.6


def rows_of(value: object) -> list[object] | None:
    """The rows of a table that is kept by columns, None if `value` is none.

    It is one as lists of one length, `{"question": [...], "answer": [...]}`, as `Dataset.to_dict` writes them; as objects with
    the same keys, `{"question": {"0": ...}, ...}`, as `DataFrame.to_json` does; or as the names beside the cells, `{"columns":
    [...], "data": [[...], ...]}`. What is neither list nor object holds for every row. Self-Instruct's `instances` are
    rows too, each with what stands beside them. An object whose names are questions holds the answers.
    """
    if not isinstance(value, dict):
        return None
    if has_instances(value):
        given = value["instances"]
        return [{**value, "instances": None, **instance} for instance in (given if isinstance(given, list) else [given])]
    names, cells = value.get("columns"), value.get("data")
    if (
        isinstance(names, list)
        and isinstance(cells, list)
        and _are(names, str)
        and _are(cells, list)
        and all(len(row) == len(names) for row in cells)
    ):
        return [dict(zip(names, row, strict=True)) for row in cells]
    if _asks(value):
        return [{"question": asked, "answer": said} for asked, said in value.items()]
    columns = known(tuple(value))
    for sides in _sides(columns):
        lists = [_cells(value[side]) for side in sides]
        if all(lists) and len({tuple(cells) for cells in lists if cells}) == 1:
            return _rows(value, list(lists[0] or {}))
    return None


def _asks(value: dict) -> bool:
    """Whether the names in an object are questions, and what stands there the answers."""
    asked = [name for name, said in value.items() if isinstance(said, str) and said.strip() and len(name) >= _SHORTEST]
    marks = sum(name.rstrip().endswith(("?", "？")) for name in asked)
    return len(asked) == len(value) >= _FEWEST and marks >= _ASKS * len(value)


def has_instances(value: object) -> bool:
    """Whether a row is an instruction with inputs and outputs in `instances`, which is a list of them, or the only one."""
    given = value.get("instances") if isinstance(value, dict) else None
    return _are(given, dict) or (isinstance(given, dict) and {"input", "output"} <= given.keys())


def _sides(columns: Mapping[str, tuple[str, ...]]) -> list[list[str]]:
    """The columns that must be alike for a table to be one of dialogues."""
    pairs = [columns["user"][:1] + columns["assistant"][:1], columns["role"][:1] + columns["content"][:1]]
    return [list(pair) for pair in pairs if len(pair) == 2]


def _cells(column: object) -> dict | None:
    """The cells of a column by their keys, None if it is none; one cell alone is a value."""
    if isinstance(column, list) and len(column) > 1:
        return dict(enumerate(column))
    return column if isinstance(column, dict) and column and all(key.isdecimal() for key in column) else None


def _rows(table: dict, keys: list) -> list[object]:
    cells = {name: _cells(column) for name, column in table.items()}
    whole = {name: found for name, found in cells.items() if found and list(found) == keys}
    rest = {name: column for name, column in table.items() if not isinstance(column, list | dict)}
    return [{**rest, **{name: found[key] for name, found in whole.items()}} for key in keys]


def _are(value: object, kind: type) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, kind) for entry in value)
