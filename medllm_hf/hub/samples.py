"""Sample dialogues of a model card: the model's own words, as they came."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medllm_hf.evaluation.consultations.canaries import is_canary
from medllm_hf.evaluation.runs.folder import environment, read_rows
from medllm_hf.folders import read_json, write_json
from medllm_hf.hub.runs import DIALOGUES, run_folders
from medllm_hf.reporting.blocks import cell

SAMPLES = "samples.json"
SHOWN = 2
# What is asked where no consultations are published: two patients, each with a question more.
QUESTIONS = (
    ("最近总是口渴、多尿，人也瘦了，需要做什么检查？", "如果空腹血糖是 8.6，说明什么？"),
    ("孩子三岁，发烧38.5度一天了，精神还好，要马上去医院吗？", "在家该怎么照顾他？"),
)  # fmt: skip
NEW_TOKENS = 400
_SETTINGS = ("do_sample", "max_new_tokens", "dtype", "device")
# Characters of one turn that the card shows.
_LONGEST = 2000
_NOTE = (
    "Unedited output: it can be wrong, and is no medical advice.",
    "",
    "以下为模型原始输出，未经编辑，可能有误，不构成医疗建议。",
)


def write_samples(folder: Path) -> None:
    """Asks the model in a repository folder the `QUESTIONS` and writes its greedy answers into `samples.json` there.

    Raises:
        UserError: see `pretrained.load_model` and `load_tokenizer`.
    """
    import torch

    from medllm_hf.placement import choose_device
    from medllm_hf.pretrained import load_model, load_tokenizer

    tokenizer, device = load_tokenizer(folder, chat=True), choose_device(None)
    model: Any = load_model(folder, dtype="auto")  # whose methods have no types of their own
    model = model.to(device).eval()

    def answer(messages: list[dict]) -> dict:
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        asked = tokenizer(text, add_special_tokens=False, return_tensors="pt").to(device)
        greedy = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        with torch.inference_mode():
            row = model.generate(**asked, **greedy, max_new_tokens=NEW_TOKENS)[0, asked["input_ids"].shape[1] :]
        said = {"role": "assistant", "content": str(tokenizer.decode(row, skip_special_tokens=True)).strip()}
        return said | ({"cut": True} if len(row) == NEW_TOKENS else {})

    dialogues = []
    for asked in QUESTIONS:
        messages: list[dict] = []
        for question in asked:
            messages.append({"role": "user", "content": question})
            messages.append(answer(messages))
        dialogues.append({"messages": messages})
    settings = {
        "do_sample": False,
        "max_new_tokens": NEW_TOKENS,
        "device": device,
        "dtype": str(model.dtype).removeprefix("torch."),
    }
    versions = environment()["versions"]
    write_json(folder / SAMPLES, {"settings": settings, "versions": versions, "dialogues": dialogues})


def sample_lines(folder: Path) -> list[str]:
    """The lines of the dialogues that the card shows: those of `samples.json`, else the first of published consultations.

    Nothing where there are neither.
    """
    if (folder / SAMPLES).is_file():
        found = read_json(folder / SAMPLES)
        told = ", ".join(f"{name} {found['settings'][name]}" for name in _SETTINGS)
        source = f"Greedy answers to fixed questions, two turns each ({cell(told)}), kept in `{SAMPLES}`."
        chinese = f"对固定问题的贪心解码回答，每段两轮，存于 `{SAMPLES}`。"
        dialogues = [_said(one["messages"], "user", "Question 提问") for one in found["dialogues"]]
        return [*_NOTE, "", source, "", chinese, *_quoted(dialogues)]
    for run in run_folders(folder):
        if (run / DIALOGUES).is_file():
            rows = [row for row in read_rows(run / DIALOGUES) if not is_canary(row["case_id"])][:SHOWN]
            source = f"The first {len(rows)} consultations of `eval/{run.name}`, not chosen; the patient is simulated."
            chinese = f"取 `eval/{run.name}` 中按顺序的前 {len(rows)} 段问诊，未经挑选；患者由模型模拟。"
            dialogues = [_said(row["turns"], "patient", "Patient 患者") for row in rows]
            return [*_NOTE, "", source, "", chinese, *_quoted(dialogues)]
    return []


def _said(turns: Sequence[Mapping], role: str, name: str) -> list[tuple[str, str, bool]]:
    """(who, what, whether it was cut at the limit of tokens) of each turn; whoever has not the `role` is the model."""
    return [(name if turn["role"] == role else "Model 模型", turn["content"], bool(turn.get("cut"))) for turn in turns]


def _quoted(dialogues: Sequence[Sequence[tuple[str, str, bool]]]) -> list[str]:
    """Each dialogue as a quotation, in which nothing is markup but who speaks."""
    lines: list[str] = []
    for number, turns in enumerate(dialogues, start=1):
        lines += ["", f"### Dialogue {number} · 对话 {number}", ""]
        for who, text, cut in turns:
            shown = [_plain(line) for line in text[:_LONGEST].splitlines() if line.strip()] or ["(empty 空)"]
            ends = " **[cut at the limit 到长度上限]**" if cut or len(text) > _LONGEST else ""
            *first, last = [f"**{who}:** {shown[0]}", *shown[1:]]
            lines += [f"> {line}\\" for line in first] + [f"> {last}{ends}", ">"]
        lines.pop()
    return lines


def _plain(line: str) -> str:
    """A line as it may stand in a paragraph: no markup, and nothing at its beginning that would begin a list or heading."""
    text = cell(line)
    return re.sub(r"^(\d+)([.)])", r"\1\\\2", re.sub(r"^([#+=-])", r"\\\1", text))
