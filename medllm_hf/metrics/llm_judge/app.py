"""The page of the Hub Space: shows what a judge is sent, and reads or scores its replies."""

import json
from pathlib import Path

import evaluate
import gradio as gr

HERE = Path(__file__).resolve().parent
DIALOGUE = json.dumps(
    [{"role": "patient", "content": "头痛两天，怎么办？"}, {"role": "doctor", "content": "疼在哪里？有没有发热、呕吐？"}],
    ensure_ascii=False,
    indent=1,
)
REPLY = "第2轮追问了部位和伴随症状。\n主动性：5\n准确性：4\n有用性：3\n语言质量：5"


def metric() -> evaluate.EvaluationModule:
    """A fresh instance of the metric: one instance does not serve two visitors at once."""
    return evaluate.load(str(HERE / "llm_judge.py"))


def prompt(dialogue: str, rubric: str, language: str) -> str:
    """The messages that a judge would be sent, as text."""
    try:
        return "\n\n".join(message["content"] for message in metric().messages(json.loads(dialogue), rubric, language))
    except (ValueError, KeyError, TypeError) as error:
        raise gr.Error(f"no dialogue: {error}") from error


def score(dialogue: str, reply: str, rubric: str) -> dict:
    """The metric's result for one dialogue and one reply."""
    try:
        return metric().compute(predictions=[json.loads(dialogue)], replies=[reply], rubric=rubric)
    except ValueError as error:
        raise gr.Error(str(error)) from error


# Those whose points come with each case have no place for them here.
RUBRICS = [name for name, rubric in metric().rubrics.items() if rubric.criteria]

with gr.Blocks(title="llm_judge") as demo:
    rubric = gr.Dropdown(RUBRICS, value=RUBRICS[0], label="Rubric 量表")
    dialogue = gr.Textbox(DIALOGUE, label="Dialogue 对话 (JSON)", lines=6)
    with gr.Tab("Prompt 提示"):
        language = gr.Radio(["zh", "en"], value="zh", label="Language 语言")
        shown = gr.Textbox(label="What the judge is sent 发给评审的内容", lines=20)
        gr.Button("Show 显示").click(prompt, inputs=[dialogue, rubric, language], outputs=shown)
    with gr.Tab("Reply 回复"):
        reply = gr.Textbox(REPLY, label="The judge's reply 评审的回复", lines=6)
        result = gr.JSON(label="Result 结果")
        gr.Button("Score 计分").click(score, inputs=[dialogue, reply, rubric], outputs=result)
    gr.Markdown((HERE / "README.md").read_text(encoding="utf-8").split("---", 2)[-1])

if __name__ == "__main__":
    demo.launch()
