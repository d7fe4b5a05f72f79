"""The verbs `data check` and `data build`: read → check → remove duplicates → split → Parquet and card."""

import hashlib
from collections import Counter

import pyarrow
from pyarrow import parquet

from medllm_hf.data.dialogues import Reading, content_hash, input_files, read
from medllm_hf.errors import UserError
from medllm_hf.folders import check_free, new_folder, project_file, sha256, write_text

MESSAGE = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
SCHEMA = pyarrow.schema([("id", pyarrow.string()), ("source", pyarrow.string()), ("messages", pyarrow.list_(MESSAGE))])
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def check(inputs: list[str], format: str = "auto") -> int:
    """Prints what was read, repaired and rejected, a line each; returns 1 if any row is unusable."""
    reading = read(inputs, format)
    print_reading(reading)
    return 1 if reading.rejected else 0


def print_reading(reading: Reading) -> None:
    """Prints the counts, then file, line, field and reason of each repaired and rejected row."""
    accepted = len(reading.rows) - len(reading.repaired)
    print(f"read {reading.read}: accepted {accepted}, repaired {len(reading.repaired)}, rejected {len(reading.rejected)}")
    for verdict, problems in (("repaired", reading.repaired), ("rejected", reading.rejected)):
        for problem in problems:
            print(f"{verdict} {problem.file}:{problem.line} {problem.field}: {problem.reason}")


def build(
    inputs: list[str],
    out: str,
    format: str = "auto",
    test_fraction: float = 0.05,
    seed: int = 42,
    license: str = "unknown",
    overwrite: bool = False,
) -> None:
    """Writes a dataset folder that `load_dataset` and `trl sft` take as it is. Same input and seed, same bytes.

    Raises:
        UserError: nothing usable in the inputs, or a fraction outside [0, 1).
    """
    if not 0 <= test_fraction < 1:
        raise UserError(f"--test-fraction {test_fraction}", "at least 0 and below 1", "choose another")
    check_free(out, overwrite)
    reading = read(inputs, format)
    print_reading(reading)
    rows = without_duplicates(reading.rows)
    if not rows:
        raise UserError("no usable dialogue", "at least one", "run `medllm data check` on the inputs")
    splits = split(rows, test_fraction, seed)
    with new_folder(out, overwrite) as folder:
        (folder / "data").mkdir()
        for name, part in splits.items():
            table = pyarrow.Table.from_pylist(part, schema=SCHEMA)
            parquet.write_table(table, folder / "data" / f"{name}.parquet")
        hashes = {file.name: sha256(file) for file in input_files(inputs)}
        write_text(folder / "README.md", card(reading, splits, license, hashes))
    counts = ", ".join(f"{name} {len(part)}" for name, part in splits.items())
    print(f"wrote {out}: {counts}; {len(reading.rows) - len(rows)} exact duplicates left out")


def without_duplicates(rows: list[dict]) -> list[dict]:
    """The rows without later copies of the same content; an id seen before gets a number, so ids stay unique."""
    kept, contents, ids = [], set(), Counter()
    for row in rows:
        content = content_hash(row["messages"])
        if content in contents:
            continue
        contents.add(content)
        ids[row["id"]] += 1
        kept.append(row if ids[row["id"]] == 1 else {**row, "id": f"{row['id']}-{ids[row['id']]}"})
    return kept


def split(rows: list[dict], test_fraction: float, seed: int) -> dict[str, list[dict]]:
    """train and test, chosen by a hash of seed and content: a row stays on its side when others are added or reordered."""

    def position(row: dict) -> float:
        digest = hashlib.sha256(f"{seed}:{content_hash(row['messages'])}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    test = [row for row in rows if position(row) < test_fraction]
    train = [row for row in rows if position(row) >= test_fraction]
    if not train:
        raise UserError(f"{len(rows)} rows, all of them in the test split", "rows to train on", "lower --test-fraction")
    return {"train": train, **({"test": test} if test else {})}


def card(reading: Reading, splits: dict[str, list[dict]], license: str, hashes: dict[str, str]) -> str:
    """The dataset card: `dataset_cards/dialogues.md` with the counts, columns and input hashes of this dataset."""
    rows = [row for part in splits.values() for row in part]
    sources = Counter(row["source"] for row in rows)
    return (
        project_file("dataset_cards/dialogues.md")
        .read_text(encoding="utf-8")
        .format(
            license=license,
            size=next((name for limit, name in SIZES if len(rows) < limit), "n>1M"),
            data_files="\n".join(f"  - split: {name}\n    path: data/{name}.parquet" for name in splits),
            splits="\n".join(
                f"| {name} | {len(part)} | {sum(len(row['messages']) for row in part)} |" for name, part in splits.items()
            ),
            sources="\n".join(f"| {name.replace('|', '/')} | {count} |" for name, count in sorted(sources.items())),
            read=reading.read,
            repaired=len(reading.repaired),
            rejected=len(reading.rejected),
            duplicates=len(reading.rows) - len(rows),
            hashes="\n".join(f"- `{name}`: `{digest}`" for name, digest in sorted(hashes.items())),
        )
    )
