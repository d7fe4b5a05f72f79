"""`medllm verify` of 200,000 exam answers, in each reading, and of 5,000 judged consultations.

    python benchmarks/verify.py [--work DIR] [--items N] [--dialogues N]

The model is that of `medllm tiny-base`, the words are made up, and no model is asked: the outputs are drawn at random and put
into run folders that the verbs themselves then finish and `push model` publishes. What is measured is the whole command as a
process of its own, which starts Python and imports what it needs. Peak memory is the system's account of it, that of the
processes that it starts included. The last lines say, one a target: NAME value=… target=… met|missed. Exit 1 if any is
missed. Needs 500 MB of disk.
"""

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from medllm_hf.checkpoint.convert import convert
from medllm_hf.checkpoint.tiny import tiny_base
from medllm_hf.evaluation.consultations import run as consulting
from medllm_hf.evaluation.consultations.canaries import canary_messages, patient_canaries
from medllm_hf.evaluation.consultations.settings import Settings as ConsultSettings
from medllm_hf.evaluation.consultations.transcript import KEY as TALK
from medllm_hf.evaluation.consultations.transcript import uncalled
from medllm_hf.evaluation.exams.outputs import output_row
from medllm_hf.evaluation.exams.prompts import candidates, read_questions
from medllm_hf.evaluation.exams.run import KEY as EXAM
from medllm_hf.evaluation.exams.run import prepare_exam, run_exam
from medllm_hf.evaluation.exams.settings import Settings, resolve_defaults
from medllm_hf.evaluation.judging import run as judging
from medllm_hf.evaluation.judging.dialogues import Origin, read_dialogues, read_gate
from medllm_hf.evaluation.judging.settings import Settings as JudgeSettings
from medllm_hf.evaluation.runs.folder import open_run, weights_hash
from medllm_hf.hub.publish import publish_model

ITEMS, DIALOGUES, SECONDS, MEGABYTES = 200_000, 5_000, 60, 1000
NOWHERE = "http://127.0.0.1:9/v1"
SIGNS = ["发热", "咳嗽", "腹痛", "头晕", "胸闷", "乏力", "皮疹", "关节痛", "视物模糊", "体重下降", "食欲不振", "夜间盗汗"]
DRUGS = ["阿莫西林", "二甲双胍", "氨氯地平", "奥美拉唑", "布洛芬", "华法林", "呋塞米", "左甲状腺素", "泼尼松", "异烟肼"]
# What wait4 tells of a process begins with the memory of the one that started it; what Linux tells of its own memory does not.
MEASURED = """
import resource, sys
from medllm_hf.cli import main
code = main(sys.argv[1:])
own = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
# What models write, each with a place for a letter.
REPLIES = [
    *("{}", "答案：{}", "正确答案是{}。", "本题选{}。该药为首选，其余各项与题干所述不符。"),
    "逐项分析如下。\nA项：不符合题干。\n综上所述，答案选{}。",
]


def write_questions(file: Path, count: int, rng: random.Random) -> Path:
    """A file of questions with five options, every tenth with several right answers."""
    with file.open("w", encoding="utf-8") as lines:
        for number in range(count):
            signs, texts = rng.sample(SIGNS, 3), rng.sample(DRUGS, 5)
            single = number % 10
            answer = "".join(sorted(rng.sample("ABCDE", 1 if single else 2)))
            question = f"患者，第{number}号，近日{'、'.join(signs)}，查体未见其他异常，首选的药物是？"
            options = dict(zip("ABCDE", texts, strict=True))
            row = {
                "id": f"q{number}",
                "question": question,
                "options": options,
                "answer": answer,
                "kind": "single" if single else "multi",
                "subject": signs[0],
            }
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    return file


def sit(model: Path, data: Path, out: Path, mode: str, rng: random.Random) -> Path:
    """The finished run of an exam, whose answers are drawn."""
    exam = prepare_exam(resolve_defaults(Settings(str(model), str(data), mode=mode)), read_questions(str(data)))
    with open_run(out, exam.manifest, EXAM) as run:
        for one in exam.shown:
            if mode == "likelihood":
                answer = {"logprobs": {"".join(letters): -rng.uniform(2, 9) for letters in candidates(one.item)}}
            else:
                letters = "".join(sorted(rng.sample("ABCDE", 1 if one.item.kind == "single" else 2)))
                answer = {"reply": rng.choice(REPLIES).format(letters), "finish": "stop"}
            run.append(dict(output_row(one, answer)))
    run_exam(exam, str(out))
    return out


def consult(model: Path, folder: Path, count: int, rng: random.Random) -> Path:
    """The finished, judged run of consultations, whose turns and verdicts are drawn."""
    cases, out = folder / "cases.jsonl", folder / "talk"
    said = [f"女，{number % 60 + 20}岁，{rng.choice(SIGNS)}三天。" for number in range(count)]
    rows = ({"id": f"c{number}", "case": text, "diagnosis": "感冒"} for number, text in enumerate(said))
    cases.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    plan = consulting.plan_run(str(cases), f"{NOWHERE}#doctor", f"{NOWHERE}#patient", ConsultSettings())
    plan.manifest["doctor"] = {"id": "doctor", "weights_sha256": weights_hash(model)}
    with open_run(out, plan.manifest, TALK) as run:
        for name in patient_canaries(plan.cases):
            assert canary_messages(name)
            run.append({**uncalled(name, 2, "这个我不清楚。", "stop", 9)})
        for case in plan.cases:
            said = [["医生您好，我有点不舒服。", "没有，别的都还好。", "好的，我知道了。"], ["还有哪里不舒服？"] * 3]
            for turn in range(6):
                text = said[turn % 2][turn // 2] + (f"请问{rng.choice(SIGNS)}吗？" if turn % 2 else "")
                run.append({**uncalled(case.id, turn, text, "stop", 9)})
    consulting.hold_consultations(plan, str(out))
    settings = JudgeSettings()
    asked = judging.plan_of(read_dialogues(str(out)), f"{NOWHERE}#judge", settings, Origin("talk", gate=read_gate(str(out))))
    with open_run(out / "judge", asked.manifest, judging.KEY) as run:
        for one, sample in asked.wanted(settings.samples):
            low = one["id"].startswith("canary/")
            names = asked.manifest["rubric"]["criteria"]
            reply = "\n".join(f"{name}: {1 if low else rng.randint(2, 5)}" for name in names)
            row = {"id": one["id"], "sample": sample, "form": "lines", "schema": False, "reply": reply, "finish": "stop"}
            counts = {"prompt_tokens": 9, "completion_tokens": 9, "seconds": 0.1, "retries": 0, "model": "judge"}
            run.append({**row, "attempts": [], **counts})
    judging.run_plan(asked, out / "judge")
    return out


def measured(words: list[str]) -> tuple[float, float, int]:
    """Wall seconds, peak memory in MB (10^6 bytes) and the exit code of one finished command of ours."""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", MEASURED, *words], stdout=subprocess.PIPE, text=True)
    return time.monotonic() - started, int(done.stdout.split()[-1]) * 1024 / 1e6, done.returncode


def main() -> int:
    """Makes the repositories, verifies each and prints the targets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="folder for the repositories, which stay there (default: a temporary one)")
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--dialogues", type=int, default=DIALOGUES)
    options = parser.parse_args()
    missed = False
    with contextlib.ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(exist_ok=True)
        rng, model = random.Random(0), work / "model"
        data = write_questions(work / "exam.jsonl", options.items, random.Random(0))
        if not model.exists():
            tiny_base(str(work / "source"))
            convert(str(work / "source"), str(model))
        runs = {mode: work / mode for mode in ("likelihood", "reply")} | {"consultations": work / "talk"}
        for name, run in runs.items():
            if not (work / f"{name}-repository").exists():
                consult(model, work, options.dialogues, rng) if name == "consultations" else sit(model, data, run, name, rng)
                started = time.monotonic()
                publish_model(str(model), "org/m", [str(run)], "apache-2.0", None, str(work / f"{name}-repository"), False)
                print(f"{name}: published in {time.monotonic() - started:.1f} s", flush=True)
            words = ["verify", str(work / f"{name}-repository")]
            words += ["--data", str(work / "cases.jsonl" if name == "consultations" else data)]
            seconds, memory, code = measured(words)
            for what, value, most in (("seconds", seconds, SECONDS), ("peak_mb", memory, MEGABYTES)):
                met = value <= most and code == 0
                missed = missed or not met
                print(f"{name}_{what} value={value:.1f} target={most} {'met' if met else 'missed'}", flush=True)
            if code:
                print(f"{name}: exit code {code}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
