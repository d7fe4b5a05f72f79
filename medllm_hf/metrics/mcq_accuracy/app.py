"""The page of the Hub Space: reads one reply, or scores a table of replies."""

import re
from pathlib import Path

import evaluate
import gradio as gr

HERE = Path(__file__).resolve().parent
OPTIONS = "A. 青霉素\nB. 链霉素\nC. 维生素B\nD. 庆大霉素\nE. 红霉素"
REPLY = "患者用药后出现眩晕和听力下降，选项A、C、E无此反应，故选B。"
ROWS = [["故选B。", "B", "药理"], ["A、C都对", "AD", "药理"], ["无法判断", "E", "内科"]]


def metric() -> evaluate.EvaluationModule:
    """A fresh instance of the metric: one instance does not serve two visitors at once."""
    return evaluate.load(str(HERE / "mcq_accuracy.py"))


def read_reply(reply: str, lines: str, kind: str | None = None) -> str:
    """The letters that `reply` chooses among the options in `lines`, one a line with its letter first."""
    options = dict(re.findall(r"^\s*\(?([A-Z])[\s.、:：)]+(.*\S)\s*$", lines, re.MULTILINE))
    return metric().extract_choice(reply, options, kind=kind or "") or "unparsed 无法解析"


def score(rows: list[list[str]]) -> dict:
    """The metric's result for rows of prediction, reference and group."""
    rows = [[cell or "" for cell in row] for row in rows if any(row)]
    predictions, references, groups = ([row[i] for row in rows] for i in range(3))
    try:
        return metric().compute(predictions=predictions, references=references, groups=groups)
    except ValueError as error:
        raise gr.Error(str(error)) from error


with gr.Blocks(title="mcq_accuracy") as demo:
    with gr.Tab("One reply 一条回答"):
        reply = gr.Textbox(REPLY, label="Reply 回答", lines=4)
        options = gr.Textbox(OPTIONS, label="Options, one a line 选项，每行一个", lines=5)
        kind = gr.Radio([("unknown 未知", ""), *((kind, kind) for kind in ("single", "multi"))], value="", label="Kind 题型")
        choice = gr.Textbox(label="Chosen 所选")
        gr.Button("Read 提取").click(read_reply, inputs=[reply, options, kind], outputs=choice)
    with gr.Tab("Accuracy 准确率"):
        table = gr.Dataframe(ROWS, headers=["prediction", "reference", "group"], datatype="str", type="array")
        result = gr.JSON(label="Result 结果")
        gr.Button("Score 计分").click(score, inputs=table, outputs=result)
    gr.Markdown((HERE / "README.md").read_text(encoding="utf-8").split("---", 2)[-1])

if __name__ == "__main__":
    demo.launch()
