"""A run under a benchmark's name is the benchmark, whole, or it is said what it is."""

from dataclasses import replace

from medllm_hf.data.benchmarks.catalogue import BENCHMARKS, Pin
from medllm_hf.data.mcq import McqItem
from medllm_hf.evaluation.exams.prompts import questions_hash
from medllm_hf.evaluation.verification.benchmarks import benchmark_findings
from medllm_hf.evaluation.verification.findings import CONFIRMED, DECLARED, DIFFERENT

ITEMS = [McqItem(str(i), f"第{i}题", {"A": "是", "B": "否"}, frozenset("A"), "", "single") for i in range(4)]
WHOLE = {"name": "cnmleqa", "split": "test", "sha256": questions_hash(ITEMS), "n": 4, "files": {}}


def states(data, items=ITEMS):
    return [(one.state, one.why) for one in benchmark_findings("eval/x", data, items)]


def test_the_whole_split_a_part_of_it_and_another(monkeypatch):
    monkeypatch.setitem(BENCHMARKS["cnmleqa"].pins, "test", Pin(4, questions_hash(ITEMS)))
    assert states(WHOLE) == [(CONFIRMED, "the whole of cnmleqa test, n=4")]
    part = {**WHOLE, "n": 3, "sha256": questions_hash(ITEMS[:3])}
    assert states(part) == [(DIFFERENT, "3 questions that are not cnmleqa test as it is, n=4")]
    turned = {**WHOLE, "sha256": questions_hash(ITEMS[::-1])}
    assert states(turned)[0][0] == DIFFERENT


def test_a_split_that_nobody_has_read_is_declared():
    (found,) = states({**WHOLE, "name": "cmexam"})
    assert found == (DECLARED, "cmexam test, n=4: not pinned, nobody here has read this split")


def test_a_file_by_the_name_of_a_benchmark():
    own = {"name": "held-out.jsonl", "split": None, "sha256": "0" * 64, "n": 4}
    assert states(own) == [(DECLARED, "held-out.jsonl: questions and answers are the publisher's own")]
    assert [states({**own, "name": name})[0][0] for name in ("cmexam", "MLEC-QA/Clinic")] == [DIFFERENT] * 2
    assert [states({**own, "name": name})[0][0] for name in ("CMExam.jsonl", "mlec-qa-clinic.json")] == [DECLARED] * 2


def test_repeated_questions_are_named():
    own = {"name": "held-out.jsonl", "split": None, "sha256": "0" * 64, "n": 6}
    twice = [*ITEMS, *(replace(one, id=f"copy{one.id}") for one in ITEMS[1:3])]
    assert states(own, twice)[1:] == [(DECLARED, "2 questions stand there more than once, 1 first")]
