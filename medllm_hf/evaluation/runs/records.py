"""JSON values as typed records: the fields of a TypedDict are checked once, where a file is read."""

from collections.abc import Iterable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, NotRequired, TypedDict, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

from medllm_hf.errors import UserError

Record = TypeVar("Record")
# Name of a field → the types that it may have.
Fields = Mapping[str, type | tuple[type, ...]]


class ModelRecord(TypedDict):
    """What a manifest says of a model; a checkpoint has hashes, an endpoint an address."""

    id: str
    weights_sha256: NotRequired[str]


class DataRecord(TypedDict):
    """What a manifest says of a file of cases or dialogues."""

    name: str
    sha256: str
    n: int


def read_record(value: object, kind: type[Record], where: str) -> Record:
    """The value as a record of the TypedDict `kind`; fields that it does not name may be there.

    Raises:
        UserError: a field is lacking or of another type; the first one is named.
    """
    if wrong := _wrong(value, kind, ""):
        raise UserError(f"a damaged run in {where}: {wrong}", "what the format says", "run `medllm eval` again")
    return value  # type: ignore[return-value]  # checked field by field


def read_records(values: Iterable[object], kind: type[Record], where: str) -> list[Record]:
    """Each of the values as `read_record` gives it, named by its number from 1.

    Raises:
        UserError: see `read_record`.
    """
    return [read_record(value, kind, f"{where} line {number}") for number, value in enumerate(values, start=1)]


@cache
def _fields(kind: type) -> dict[str, object]:
    return get_type_hints(kind)


def _wrong(value: object, kind: Any, place: str) -> str | None:
    """What makes a value none of this type, None where it is one."""
    origin, inner = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        if not isinstance(value, dict):
            return _mismatch(value, place)
        if lacking := sorted(kind.__required_keys__ - value.keys()):
            return f"no {_at(place, lacking[0])}"
        parts = [(value[name], own, _at(place, name)) for name, own in _fields(kind).items() if name in value]
    elif origin in (Union, UnionType):
        return None if any(_wrong(value, one, place) is None for one in inner) else _mismatch(value, place)
    elif origin is list and isinstance(value, list):
        parts = [(one, inner[0], f"{place}[{number}]") for number, one in enumerate(value)]
    elif origin is dict and isinstance(value, dict):
        parts = [(one, inner[1], _at(place, str(name))) for name, one in value.items()]
    else:
        plain: Any = {float: (int, float), None: NoneType}.get(kind, origin or kind)
        fits = isinstance(value, plain) and not (isinstance(value, bool) and kind in (int, float))
        return None if fits else _mismatch(value, place)
    return next((found for part in parts if (found := _wrong(*part))), None)


def _at(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _mismatch(value: object, place: str) -> str:
    return f"{place or 'a row'} is a {type(value).__name__}"


def _is_meant(value: object, kind: type | tuple[type, ...]) -> bool:
    """Whether true and false stand where they are meant, and not for 1 and 0."""
    return not isinstance(value, bool) or bool in (kind if isinstance(kind, tuple) else (kind,)) or kind is object


def check_fields(where: str, record: object, fields: Fields, optional: Fields | None = None) -> None:
    """Check that a record of JSON has these fields, each of its type; `optional` ones may be lacking.

    Raises:
        ValueError: it has not; the message begins with `where`.
    """
    if not isinstance(record, Mapping):
        raise ValueError(f"{where}: a {type(record).__name__}, not an object")
    if lacking := [name for name in fields if name not in record]:
        raise ValueError(f"{where}: no {lacking[0]!r}")
    for name, kind in {**fields, **(optional or {})}.items():
        if name in record and not (isinstance(record[name], kind) and _is_meant(record[name], kind)):
            raise ValueError(f"{where}: {name} {record[name]!r}")
