"""The metrics as `evaluate` loads them give the figures of the functions, which need no `evaluate`."""

import sys

import evaluate
import pytest
from support.commands import run
from support.paths import ROOT

from medllm_hf.metrics.llm_judge.scoring import JudgeOptions, score_dialogues
from medllm_hf.metrics.mcq_accuracy.scoring import score_answers

FOLDER = ROOT / "medllm_hf" / "metrics"
ANSWERS = {
    "predictions": ["B", "故选A、C。", "无法判断", "The answer is red.", "只有C是不对的。"],
    "references": ["B", "AC", "D", "A", "C"],
    "options": [[{"label": letter, "text": text} for letter, text in zip("ABCD", ("red", "", "c", ""), strict=True)]] * 5,
    "groups": ["x", "y", "x", None, "y"],
}
DIALOGUES = [
    [{"role": "patient", "content": "头痛"}, {"role": "doctor", "content": text}] for text in ("发热吗？", "多喝水", "")
]
REPLIES = ["主动性：5\n准确性：4\n有用性：3\n语言质量：5", "no verdict", ["主动性：2\n准确性：4\n有用性：3\n语言质量：4.5"] * 2]


STEMS = [None, "", "下列正确的是", "What is the colour of blood?", "下列不正确的是"]


@pytest.mark.parametrize("stems", [{}, {"questions": STEMS}])
def test_exam_figures(stems):
    result = evaluate.load(str(FOLDER / "mcq_accuracy")).compute(**ANSWERS, **stems)
    assert result == score_answers(**ANSWERS, **stems)
    assert (result["accuracy"], result["unparsed"]) == ((0.8, 1) if stems else (0.6, 2))


def test_judge_figures():
    options = {"replies": REPLIES, "groups": ["x", "y", "x"], "seed": 3}
    expected = score_dialogues(DIALOGUES, ["a", None, "b"], JudgeOptions(**options))
    loaded = evaluate.load(str(FOLDER / "llm_judge"))
    assert loaded.compute(predictions=DIALOGUES, references=["a", None, "b"], **options) == expected


def test_the_functions_need_no_evaluate():
    code = (
        "import sys\nfrom medllm_hf.metrics.llm_judge import scoring\nfrom medllm_hf.metrics.mcq_accuracy import scoring\n"
        "print({'evaluate', 'datasets', 'torch', 'transformers'} & set(sys.modules))"
    )
    done = run(sys.executable, "-c", code, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "set()\n")
