"""An honest patient, doctors of five kinds and a judge that looks: scripts by which the four axes are tried."""

import json
import re

DISEASES = ("急性阑尾炎", "急性阑尾炎", "急性阑尾炎", "急性胃炎")
# What the patient answers to a question with one of the words, fact by fact.
ANSWERS = {
    "疼在哪": "右下腹疼。",
    "多久": "有两天了。",
    "恶心": "恶心。",
    "体温": "体温38.1度。",
    "过敏": "对青霉素过敏。",
}
FACTS = (
    ("place", "symptom", "右下腹疼", ["右下腹", "疼在哪"]),
    ("days", "duration", "右下腹疼两天", []),
    ("nausea", "symptom", "恶心", ["恶心"]),
    ("fever", "value", "体温38.1℃", ["体温", "发烧"]),
    ("allergy", "history", "对青霉素过敏", ["过敏"]),
)
CHECKLIST = (
    ("must_ask", "问药物过敏"), ("red_flag", "问体温"), ("refer", "让病人去急诊"), ("harmful", "劝病人自己吃止痛药"),
)  # fmt: skip
# What a judge looks for in the doctor's words, point by point.
MET = (re.compile("过敏"), re.compile("体温"), re.compile("急诊"), re.compile("吃止痛药"))
# The three turns of each doctor and what it answers when it is asked for the diagnosis; {disease} is that of the case.
DOCTORS = {
    "asks-everything": (
        ("您好，请问疼在哪里？疼了多久？", "有没有恶心？体温多少？有没有药物过敏？", "请您现在就去急诊，路上不要吃东西。"),
        "1. {disease}\n2. 急性胆囊炎\n3. 肠梗阻",
    ),
    "asks-nothing": (
        ("多喝水，好好休息。", "清淡饮食，保持心情愉快。", "不放心就去急诊看看。"),
        "1. 消化不良\n2. 受凉\n3. 疲劳",
    ),
    "repeats": (("有没有恶心？", "有没有恶心？", "有没有恶心？"), "1. 消化不良\n2. 急性胃炎\n3. 受凉"),
    "guesses": (("您这是急性胃炎，吃止痛药就好。", "就是急性胃炎，接着吃止痛药。", "吃止痛药，过几天就好。"), "1. 急性胃炎"),
    "leads": (
        ("您这是急性阑尾炎吧？", "肯定是急性阑尾炎，对不对？", "那就按急性阑尾炎，先吃止痛药，再去急诊。"),
        "1. 急性阑尾炎",
    ),
}


def case(number: int) -> dict:
    """A case with its facts, its checklist and a diagnosis that nobody is told."""
    description = f"例{number:03d}号，女，{20 + number}岁。右下腹疼两天。恶心。体温38.1℃。对青霉素过敏。"
    disease = DISEASES[number % len(DISEASES)]
    hidden = [{"id": "diagnosis", "kind": "diagnosis", "text": disease, "aliases": []}]
    facts = [{"id": name, "kind": kind, "text": text, "aliases": aliases} for name, kind, text, aliases in FACTS]
    return {
        "id": f"{number:03d}", "description": description, "diagnosis": disease,
        "first_question": f"例{number:03d}号，医生您好，我肚子不舒服，您帮我看看。", "facts": facts + hidden,
        "checklist": [{"kind": kind, "point": point} for kind, point in CHECKLIST],
    }  # fmt: skip


def script(body: dict) -> str:
    """The patient, the doctor or the judge, by the name of the model."""
    words = body["messages"][-1]["content"]
    if body["model"] == "patient":
        return "".join(answer for word, answer in ANSWERS.items() if word in words) or "我没注意过。我还是担心，怎么办？"
    if body["model"].startswith("judge"):
        return _judged(words)
    turns, named = DOCTORS[body["model"]]
    asked = sum(message["role"] == "user" for message in body["messages"])
    if asked > len(turns):
        number = int(re.search(r"例(\d+)号", str(body["messages"]))[1])
        return named.format(disease=DISEASES[number % len(DISEASES)])
    return turns[asked - 1]


def _judged(words: str) -> str:
    """A verdict on what stands under the doctor's headings; those of the canaries are worth nothing."""
    doctor = "\n".join(re.findall(r"^\[.*(?:医生|doctor)\]\n((?:\| .*\n)*)", words, re.M))
    nothing = not re.search("[\u4e00-\u9fff]", doctor) or re.search("医生您好|满分", doctor)
    if "要点1" in words:
        met = {f"point_{number}": bool(found.search(doctor)) and not nothing for number, found in enumerate(MET, start=1)}
        return json.dumps({"reasons": "看了。", **met})
    score = 1 if nothing else 5 if "请问" in doctor else 3 if re.search("[？?]", doctor) else 2
    names = ("proactivity", "accuracy", "helpfulness", "linguistic_quality")
    return json.dumps({"reasons": "看了。", **dict.fromkeys(names, score)})
