"""Damaged evidence is refused by the readers of its records: the field is named, and nothing is caught around them."""

import json
from pathlib import Path

import pytest
from support.exam_runs import answered, as_shown, questions, right_with, run_folder
from support.judged_runs import dialogue, honest, judged_run
from support.tampering import Change, edited, outputs, put, rows, scores

from medllm_hf.errors import UserError
from medllm_hf.evaluation.commands.report import report
from medllm_hf.evaluation.exams.prompts import Prompts
from medllm_hf.evaluation.runs.folder import read_run
from medllm_hf.evaluation.verification.dialogues import judgements
from medllm_hf.evaluation.verification.exams import exam
from medllm_hf.evaluation.verification.findings import DIFFERENT, Known, guarded
from medllm_hf.hub.runs import consultations_in


def setting(name: str, value: object) -> Change:
    return edited("run/manifest.json", lambda found: found["settings"].update({name: value}))


# What is done to an exam run, what verification must name, and whether the report refuses it too.
EXAM: list[tuple[str, Change, str, bool]] = [
    ("no seed", edited("run/manifest.json", lambda found: found["settings"].pop("seed")), "no settings.seed", False),
    ("a seed in words", setting("seed", "one"), "settings.seed is a str", False),
    ("no weights", edited("run/manifest.json", lambda found: found["model"].pop("weights_sha256")), "no model.weights", False),
    ("a split in a list", edited("run/manifest.json", lambda found: found["data"].update(split=[])), "split []", True),
    ("shots without examples", setting("shots", 2), "no data.examples", False),
    ("another kind", scores("run", put(1, kind="essay")), "row 2: kind 'essay'", True),
    ("an order of no letters", scores("run", put(1, order="VWXYZ"[: 4])), "row 2: order", True),
    ("no reference", scores("run", put(0, reference="")), "row 1: order", True),
    ("no prediction", scores("run", lambda found: found[2].pop("prediction")), "row 3: no 'prediction'", True),
    ("lengths of nothing", outputs("run", lambda found: found[0].update(lengths={"A": 0})), "row 1: lengths", True),
    ("no counts", edited("run/manifest.json", lambda found: found["model"].update(endpoint="u")), "no 'prompt_tokens'", True),
    ("no outputs", outputs("run", lambda found: found.clear()), "no output of any question in eval/run", True),
    ("lists in lists", outputs("run", put(0, more=json.loads("[" * 60 + "]" * 60))), "nested too deep", True),
]  # fmt: skip


@pytest.mark.parametrize(("change", "named", "in_report"), [one[1:] for one in EXAM], ids=[one[0] for one in EXAM])
def test_a_damaged_exam(tmp_path: Path, monkeypatch, change, named, in_report):
    monkeypatch.setattr(Prompts, "digest", lambda self, items: "ab" * 32)
    monkeypatch.setattr("medllm_hf.evaluation.verification.exams.load_tokenizer", lambda *_, **__: None)
    run_folder(tmp_path / "run", answered(as_shown(questions(6, options=4)), right_with(0.5, 1)))
    known = Known("cd" * 32, tmp_path, {})

    def findings():
        yield from exam("eval/run", read_run(tmp_path / "run"), known)

    assert len(list(guarded("eval/run", findings()))) > 9
    change(tmp_path)
    *_, finding = guarded("eval/run", findings())
    assert (finding.figure, finding.state) == ("eval/run", DIFFERENT) and named in finding.why
    if in_report:
        with pytest.raises(UserError, match="run"):
            report([str(tmp_path / "run")], str(tmp_path / "out"))
        assert not (tmp_path / "out").exists()


JUDGE: list[tuple[str, Change, str]] = [
    ("another language", edited("run/manifest.json", lambda found: found["rubric"].update(language="xx")), "language 'xx'"),
    ("no samples", setting("samples", 0), "no replies"),
    ("a role of its own", scores("run", lambda found: found[0]["turns"][0].update(role=1)), "turns[0].role is a int"),
    ("no reply", outputs("run", lambda found: found[5].pop("reply")), "outputs.jsonl line 6: no reply"),
    ("a dialogue without turns", rows("dialogues.jsonl", lambda found: found[0].pop("turns")), "dialogues.jsonl line 1: no t"),
    ("a nurse", rows("dialogues.jsonl", lambda found: found[0]["turns"][0].update(role="nurse")), "neither patient nor doctor"),
]


@pytest.mark.parametrize(("change", "named"), [one[1:] for one in JUDGE], ids=[one[0] for one in JUDGE])
def test_a_damaged_judge_run(tmp_path: Path, change, named):
    run, _ = judged_run(honest, tmp_path, dialogue(0), dialogue(1))
    assert run["metrics"]["headline"]
    change(tmp_path)

    def findings():
        (own,) = consultations_in([tmp_path]).values()
        yield from judgements("eval/talk/judge", read_run(tmp_path / "run"), own)[0]

    (finding,) = guarded("eval/talk/judge", findings())
    assert finding.figure == "eval/talk/judge" and named in finding.why


def test_a_kind_that_is_no_text(tmp_path, refused):
    folder = run_folder(tmp_path / "run", answered(as_shown(questions(3)), right_with(1, 1)))
    edited("run/manifest.json", lambda found: found.update(kind=["mcq"]))(tmp_path)
    assert "run of kind ['mcq']" in refused("report", str(folder), "--out", str(tmp_path / "out"))


def test_a_fault_of_our_own_is_not_called_damage():
    with pytest.raises(ZeroDivisionError):
        list(guarded("eval/run", (1 / number for number in (0,))))
