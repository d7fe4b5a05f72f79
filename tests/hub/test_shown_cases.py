"""A judge that was shown the cases: no text of them is published, and who has the file confirms what the judge was told."""

import json
import shutil

import pytest
from support.consulting import SECRET
from support.published_model import consultation, publish
from support.tampering import JUDGE, edited, scores

from medllm_hf.cli import main

HASHES = f"{JUDGE}/scores.jsonl case_sha256"


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """A published model with a consultation whose judge was shown the cases, and the folder of the cases."""
    folder = tmp_path_factory.mktemp("shown")
    return publish(tiny["base"], folder / "repository", [consultation(tiny["base"], folder, shown=True)])


def verified(folder, capsys, *data):
    """The exit code and the lines of `medllm verify`."""
    capsys.readouterr()
    code = main(["verify", str(folder), *(["--data", *map(str, data)] if data else [])])
    *lines, _, _ = capsys.readouterr().out.splitlines()
    return code, [line for line in lines if not line.startswith("declared ")]


def test_no_file_of_the_repository_has_the_text_of_a_case(whole):
    files = [path for path in whole.rglob("*") if path.is_file() and path.suffix in (".json", ".jsonl", ".md", ".yaml")]
    assert not [path for path in files if SECRET in path.read_text(encoding="utf-8")]
    assert not (whole / JUDGE / "cases.jsonl").exists() and (whole.parent / "talk" / "judge" / "cases.jsonl").exists()
    card = (whole / "README.md").read_text(encoding="utf-8")
    assert "| judge-model (shown the cases) |" in card and "标有 shown the cases 的裁判模型" in card
    assert "judge judge-model (shown the cases), n=2" in card


def test_all_is_confirmed_with_the_cases_and_all_but_them_without(whole, capsys):
    code, lines = verified(whole, capsys, whole.parent / "cases.jsonl")
    assert code == 0 and all(line.startswith("confirmed ") for line in lines), lines
    assert any(HASHES in line for line in lines)
    _, lines = verified(whole, capsys)
    unknown = [line for line in lines if not line.startswith("confirmed ")]
    assert any(HASHES in line and "cases.jsonl is not at hand" in line for line in unknown)
    assert all(line.startswith("not derivable ") for line in unknown)


FORGERIES = [
    ("another hash", scores(JUDGE, lambda rows: rows[0].update(case_sha256="0" * 64)), HASHES),
    ("no hashes", scores(JUDGE, lambda rows: [row.pop("case_sha256") for row in rows]), "without the hash of a case"),
    ("other cases", edited(f"{JUDGE}/manifest.json", lambda found: found["cases"].update(sha256="0" * 64)), "cases.sha256"),
    ("said to be blind", edited(f"{JUDGE}/manifest.json", lambda found: found.pop("cases")), "with the hash of a case"),
    ("a blind card", lambda folder: _blind(folder), 'README.md "| talk/judge'),
]


def _blind(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    (folder / "README.md").write_text(text.replace("| judge-model (shown the cases) |", "| judge-model |"), encoding="utf-8")


@pytest.mark.parametrize(("change", "named"), [one[1:] for one in FORGERIES], ids=[one[0] for one in FORGERIES])
def test_a_forgery_is_found_and_named(whole, tmp_path, capsys, change, named):
    shutil.copytree(whole, tmp_path / "repository")
    change(tmp_path / "repository")
    code, lines = verified(tmp_path / "repository", capsys, whole.parent / "cases.jsonl")
    wrong = [line for line in lines if not line.startswith("confirmed ")]
    assert code == 1 and any(named in line for line in wrong), json.dumps(wrong, ensure_ascii=False, indent=1)
