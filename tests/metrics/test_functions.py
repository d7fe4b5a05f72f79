"""The metrics as `evaluate` loads them give the figures of the functions, which need no `evaluate`."""

import sys

import evaluate
from support.commands import run
from support.paths import ROOT

from medllm_hf.metrics.llm_judge.scoring import JudgeOptions, score_dialogues
from medllm_hf.metrics.mcq_accuracy.scoring import score_answers

FOLDER = ROOT / "medllm_hf" / "metrics"
ANSWERS = {
    "predictions": ["B", "故选A、C。", "无法判断", "The answer is red."],
    "references": ["B", "AC", "D", "A"],
    "options": [[{"label": letter, "text": text} for letter, text in zip("ABCD", ("red", "", "c", ""), strict=True)]] * 4,
    "groups": ["x", "y", "x", None],
}
DIALOGUES = [
    [{"role": "patient", "content": "头痛"}, {"role": "doctor", "content": text}] for text in ("发热吗？", "多喝水", "")
]
REPLIES = ["主动性：5\n准确性：4\n有用性：3\n语言质量：5", "no verdict", ["主动性：2\n准确性：4\n有用性：3\n语言质量：4.5"] * 2]


def test_exam_figures():
    assert evaluate.load(str(FOLDER / "mcq_accuracy")).compute(**ANSWERS) == score_answers(**ANSWERS)


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
