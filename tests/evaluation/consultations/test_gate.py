"""The gate of simulated patients: 441 labelled turns, what is no fault, and what a run does with a bad turn."""

import json
from pathlib import Path

import pytest
from support.chat_server import ChatServer
from support.consulting import case as made_case
from support.consulting import consult, is_patient, judging, lines, reply, turns_in, write_cases

from medllm_hf.cli import main
from medllm_hf.evaluation.consultations.canaries import check_canary, patient_canaries
from medllm_hf.evaluation.consultations.cases import Case
from medllm_hf.evaluation.consultations.gate import (
    disease_names,
    names_diagnosis,
    speaks_as_doctor,
    turn_faults,
    unknown_numbers,
)
from medllm_hf.evaluation.consultations.patient import END, HINTS, LAST_HINTS, OPENINGS_AGAIN, ask_again, patient_messages
from medllm_hf.evaluation.consultations.transcript import patient_faults

LABELLED = json.loads(Path(__file__).with_name("patient_turns.json").read_text(encoding="utf-8"))
FAULTS = {"doctor": "speaks_as_doctor", "invented": "not_in_case", "diagnosis": "names_diagnosis", "end": "end_alone"}
ADVICE = "建议您尽快到医院就诊，多喝水，注意休息。"


def labelled(name: str) -> Case:
    fields = LABELLED["cases"][name]
    return Case(name, "", "", fields["description"], "", fields["diagnosis"])


def test_labelled_turns():
    """Nearly every bad turn is caught, for the reason that the label gives, and no good one is."""
    bad, missed, other, false = 0, [], [], []
    for name, asked, text, label in LABELLED["turns"]:
        words = text.replace(END, "").rstrip()
        found = turn_faults(labelled(name), [{"role": "doctor", "content": asked}], words, END in text, may_end=False)
        bad += bool(label)
        if label and not found:
            missed.append(text)
        elif label and FAULTS.get(label, label) not in found:
            other.append((text, found))
        elif found and not label:
            false.append((text, found))
    assert bad == 202 and len(LABELLED["turns"]) == 441
    # Invented without a number, or with one that the case has of something else: nothing that has no model can tell.
    assert missed == [
        "打过两针EV71疫苗，都是在社区打的。",
        "结婚了，生过3个孩子。",
        "抽，抽了四十年，一天两包。",
        "8个月了。",
        "化验了，轮状病毒阳性。",
        "得有七八分吧。",
        "查了，WBC 3+，亚硝酸盐阳性。",
        "一天一斤。",
        "每分钟一百六十次左右。",
        "查了，贫血，缺铁的。",
    ]
    assert not false
    assert not other


@pytest.mark.parametrize(
    ("name", "echoed"),
    [
        ("gall", HINTS["zh"]["speaks_as_doctor"]),
        ("gall", "好的，以“医生”开头，用我自己的话说我的情况，或问一件我担心的事。"),
        ("gall", "只说资料里写着的事。医生问到哪一点才答哪一点，没有问到的，不要主动说。"),
        ("migraine", "I begin with Doctor, and tell my own complaint only, or ask about one thing that worries you."),
    ],
)
def test_what_it_is_told_of_its_role_is_no_answer(name, echoed):
    """Small models recite what asks them to say their words again."""
    assert "copies" in patient_faults(labelled(name), [], echoed, auto=False)
    before = [{"case": name, "turn": 0, "role": "patient", "content": echoed}]
    assert "copies" in patient_faults(labelled(name), before, echoed, auto=False), "said before, it is not its own"
    offered = (
        "不清楚，没注意过，也没有查过。",
        "怎么治疗？要做什么检查？平时要注意什么？",
        "I do not know, did not notice, was not tested.",
    )
    for honest in offered:
        assert not patient_faults(labelled(name), [], honest, auto=False)


@pytest.mark.parametrize(
    ("diagnosis", "said", "asked", "given_away"),
    [
        ("轮状病毒性肠炎", "轮状病毒感染引起的肠炎可能性大。", "轮状病毒肠炎传染吗？", False),
        ("轮状病毒性肠炎", "宝宝怎么了？", "他得了轮状病毒肠炎。", True),
        ("抑郁症", "可能有些抑郁。", "抑郁症能好吗？", False),
        ("慢性阻塞性肺疾病", "喘多久了？", "我是COPD。", True),
        ("急性化脓性阑尾炎", "哪里疼？", "我得的是阑尾炎。", True),
        ("甲状腺功能亢进症", "哪里不舒服？", "我有甲状腺功能亢进。", True),
        ("心房颤动", "心慌多久了？", "我有房颤。", True),
        ("十二指肠溃疡", "做过胃镜吗？", "做过，十二指肠球部溃疡。", True),
    ],
)
def test_loose_names_of_a_diagnosis(diagnosis, said, asked, given_away):
    case = Case("1", "", "", "心慌。", "", diagnosis)
    assert names_diagnosis(case, [{"role": "doctor", "content": said}], asked) == given_away


@pytest.mark.parametrize(
    ("diagnosis", "said", "given_away"),
    [
        ("小儿腹泻", "宝宝从昨晚开始腹泻，一天五六次。", False),
        ("慢性咳嗽", "我咳嗽两个月了。", False),
        ("小儿肺炎", "是不是肺炎？", True),
        ("小儿腹泻、轮状病毒感染", "腹泻，像是轮状病毒感染。", True),
    ],
)
def test_a_complaint_gives_no_diagnosis_away(diagnosis, said, given_away):
    case = Case("c", "", "", "宝宝腹泻，咳嗽。", "", diagnosis)
    assert names_diagnosis(case, [], said) is given_away


@pytest.mark.parametrize(
    ("said", "copied"),
    [
        ("好的，我来抽个血，等结果回来再看下一步。这几天少出门，多喝点温水。", True),
        ("好的，我去抽血。这几天我会少出门，多喝点温水的。", False),
        ("好的，抽血我去。吃饭有什么讲究？大人也要查吗，家里还有一个孩子。", False),
    ],
)
def test_a_sentence_of_the_doctors_to_the_letter(said, copied):
    """Words of its own before it do not make an advice the patient's."""
    asked = "可能是病毒。先去抽个血，等结果回来再看下一步。这几天少出门，多喝点温水。"
    case = Case("c", "", "", "男，30岁。发热两天。", "", "")
    assert ("copies" in turn_faults(case, [{"role": "doctor", "content": asked}], said, False, False)) is copied


def test_the_question_that_was_asked_is_no_answer():
    case = Case("c", "", "", "男，30岁。发热两天。", "", "")
    turns = [
        {"role": "patient", "content": "要住院治疗吗？"},
        {"role": "doctor", "content": "得过肺结核没有？要住院治疗吗？您平时抽烟喝酒吗？"},
    ]
    assert turn_faults(case, turns, "得过肺结核没有。抽烟喝酒吗？", False, False) == ["copies"]
    assert turn_faults(case, turns, "得过肺结核没有。您平时抽烟喝酒吗？", False, False)
    assert not turn_faults(case, turns, "抽烟喝酒吗？都不沾。", False, False)
    assert not turn_faults(case, turns, "这个不清楚。要住院治疗吗？", False, False), "it has asked that itself"
    either = [{"role": "doctor", "content": "有没有头痛或者恶心？"}]
    assert turn_faults(case, either, "头痛或者恶心", False, False) == ["copies"]
    assert not turn_faults(case, either, "头痛，不恶心", False, False)


def test_a_report_that_is_read_out_is_no_doctors_word():
    report = "CT检查发现肺里有数枚结节，考虑右肺炎性假瘤的可能性大。"
    case = Case("1", "", "", "男，50岁。咳嗽一周。CT检查：肺里见数枚结节，考虑右肺炎性假瘤可能性大。")
    assert not turn_faults(case, [], report, ended=False, may_end=False)
    assert turn_faults(labelled("gall"), [], report, ended=False, may_end=False) == ["speaks_as_doctor"]


def test_what_weak_models_say_to_advice_alone():
    case = Case("1", "", "", "女，34岁。牙疼三天。")
    turns = [
        {"role": "patient", "content": "医生您好，我牙疼。"},
        {"role": "doctor", "content": "建议您去口腔科，少吃甜的，按时刷牙，休息几天。"},
    ]
    assert turn_faults(case, turns, "医生您好，我牙疼。建议您去口腔科，少吃甜的，按时刷牙，休息几天。", False, False) == [
        "speaks_as_doctor",
        "copies",
    ]
    assert not turn_faults(case, turns, "好的，我去口腔科看看，少吃甜的。要休息几天？", False, False)
    assert turn_faults(case, [], "我是一个男性，34岁，牙疼三天。", False, False) == ["not_in_case"]


@pytest.mark.parametrize(
    ("said", "doctors"),
    [
        ("好，我马上安排您去拍片。", True),
        ("您什么时候安排我住院？", False),
        ("知道了，我少喝酒。要是疼得更厉害，建议再次复诊。", True),
        ("行，请告诉我这些方面的情况。", True),
        ("医生，请告诉我该挂哪个科。", False),
        ("好的，请告诉我您后续的化验结果，我再根据结果决定是否用药。", True),
        ("我根据结果决定去哪家医院。", False),
        ("谢谢您的建议，我再观察几天。", False),
        ("你好，我是一名线上医生，能回答各类健康问题。", True),
        ("我是专业运动员，膝盖疼。", False),
        ("小孩咳几声是正常的，无需处理。", True),
        ("您好，我需要了解宝宝的病史和用药。", True),
        ("我想了解孩子的病情要不要紧。", False),
        ("社区医生说是正常的，不用管。", False),
    ],
)
def test_a_doctors_part_behind_a_yes(said, doctors):
    """What weak models add once they have agreed: they go on as the one who has advised."""
    assert speaks_as_doctor(said) is doctors


def test_amounts_in_words():
    assert unknown_numbers("烧到三十九度二，瘦了十斤。", ["体温三十八度五，瘦了三公斤。"]) == ["三十九度二", "十斤"]
    assert not unknown_numbers("瘦了六斤，抽了四十年，一天一包，吃了两片药。要吃五天吗？", ["瘦了3公斤，吸烟四十年。"])


@pytest.mark.parametrize("sign", ["9", "一", "十", "1.", "三公斤", "没有"])
def test_a_row_of_signs_without_an_end_is_read_in_one_go(sign):
    """A broken server repeats one sign; no number is so long, and no rule reads the row from each of its signs again."""
    words = sign * (20_000 // len(sign))
    case = Case("1", "", "", "女，34岁。牙疼三天。")
    turn_faults(case, [{"role": "doctor", "content": words}, {"role": "patient", "content": words}], words, False, False)


def test_the_mark_alone_ends_only_where_the_patient_may_end():
    case = labelled("heart")
    assert turn_faults(case, [], "", ended=True, may_end=False) == ["end_alone"]
    assert turn_faults(case, [], "", ended=True, may_end=True) == []
    assert turn_faults(case, [], " ", ended=False, may_end=True) == ["empty"]


@pytest.mark.parametrize(
    ("diagnosis", "names"),
    [
        ("急性阑尾炎", {"急性阑尾炎", "阑尾炎"}),
        ("急性心肌梗死", {"心梗", "心肌梗死", "心肌梗塞"}),
        ("2型糖尿病", {"糖尿病", "2型糖尿病"}),
        ("腰椎间盘突出症、高血压", {"腰突", "高血压"}),
        ("acute myocardial infarction", {"heart attack", "myocardial infarction"}),
    ],
)
def test_names_of_a_diagnosis(diagnosis, names):
    assert names <= set(disease_names(diagnosis))


def test_a_diagnosis_that_somebody_has_named_is_no_secret():
    case = labelled("appendix")
    for role in ("doctor", "patient"):
        assert not names_diagnosis(case, [{"role": role, "content": "会不会是阑尾炎？"}], "阑尾炎要开刀吗？")
    assert names_diagnosis(case, [{"role": "doctor", "content": "可能是肠炎。"}], "阑尾炎要开刀吗？")


def test_a_patient_may_repeat_its_own_words_where_the_doctor_has_repeated_them():
    turns = [
        {"role": "patient", "content": "右下腹一直隐隐作痛，走路更疼"},
        {"role": "doctor", "content": "您说右下腹一直隐隐作痛，走路更疼。"},
    ]
    assert turn_faults(labelled("heart"), turns, "右下腹一直隐隐作痛，走路更疼", ended=False, may_end=False) == []


def test_a_decimal_comma_of_the_record():
    assert not unknown_numbers("昨晚烧到38.7度。", ["体温38,7℃"])
    assert unknown_numbers("昨晚烧到38.7度。", ["体温38,9℃"]) == ["38.7"]


def test_numbers_in_words_and_parts():
    assert unknown_numbers("疼了2个小时，血糖11点多", ["两小时前开始，空腹血糖11.8mmol/L"]) == []
    assert unknown_numbers("I'm 19, for 2 months", ["Woman, 19, for two months"]) == []
    assert unknown_numbers("1. 发热\n2. 咳嗽", ["发热、咳嗽"]) == []
    assert unknown_numbers("烧到39.5℃，吃了3天药", ["发热两天"]) == ["39.5", "3"]
    assert unknown_numbers("要打120吗？我是2型糖尿病吗？", [""]) == []


@pytest.mark.parametrize(
    "text",
    ["您" * 50_000, "建议" * 50_000, "请问" * 50_000, "吗，" * 50_000, "请您" * 30_000 + "？", "you " * 30_000, "1." * 50_000],
)
def test_a_long_text_is_read_once(text):
    speaks_as_doctor(text)
    unknown_numbers(text, [""])


def script_of(*bad: str):
    """A patient that says the `bad` words first when its second turn is due on the first case, and the doctor."""
    left = list(bad)

    def answer(body):
        due = is_patient(body) and "例001号" in str(body) and len(body["messages"]) >= 4
        return left.pop(0) if due and left else reply(body)

    return answer


@pytest.fixture
def two(tmp_path) -> str:
    return write_cases(tmp_path / "cases.jsonl", [made_case(1), made_case(2)])


def test_a_bad_turn_is_said_again(two, tmp_path, capsys):
    with ChatServer(script_of(ADVICE, "我烧到39.9度了")) as server:
        assert consult(server, two, tmp_path / "run", "--turns", "2") == 0
        asked = [one.body["messages"] for one in server.requests if "（" in one.body["messages"][-1]["content"]]
    assert "2 dialogues" in (told := capsys.readouterr().out) and "1 of 4 turns were asked for again" in told
    row = next(row for row in turns_in(tmp_path / "run") if (row["case"], row["turn"]) == ("001", 2))
    assert row["attempts"] == [ADVICE, "我烧到39.9度了"] and "faults" not in row
    assert (row["prompt_tokens"], row["completion_tokens"]) == (3 * 7, 3 * 3)
    # It hears the doctor's words and how to answer them, never its own bad ones.
    hints = [HINTS["zh"][fault] for fault in ("speaks_as_doctor", "not_in_case")]
    assert [one[-1]["content"] for one in asked] == [f"医生答第1句\n{hint}" for hint in hints]
    assert all(bad not in str(one) for one in asked for bad in row["attempts"])
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert (metrics["n"], metrics["gate"]["asked_again"], metrics["gate"]["invalid"]) == (2, 1, 0)


@pytest.mark.parametrize("name", ["gall", "migraine"])
def test_first_words_are_asked_for_in_another_way(name):
    """Small models answer "what can I do for you?" as the assistants that they are, and copy it when they are asked again."""
    case = labelled(name)
    spoken, first = ("zh" if name == "gall" else "en"), patient_messages(case, auto=False)
    again, last = (ask_again(case, first, ["copies"], last=last)[-1]["content"] for last in (False, True))
    assert again == f"{OPENINGS_AGAIN[spoken]}\n{HINTS[spoken]['copies']}"
    assert last == f"{OPENINGS_AGAIN[spoken]}\n{LAST_HINTS[spoken]}"
    assert ask_again(case, first, ["not_in_case"], last=True)[-1]["content"].endswith(HINTS[spoken]["not_in_case"])


def test_what_stays_bad_is_not_judged_and_takes_the_headline(two, tmp_path, capsys):
    answer = script_of(ADVICE, ADVICE, ADVICE)
    with ChatServer(lambda body: judging(body) if body["model"] == "judge-model" else answer(body)) as server:
        assert consult(server, two, tmp_path / "run", "--turns", "3", "--judge", server.url + "#judge-model") == 1
    out = tmp_path / "run"
    rows = [row for row in turns_in(out) if row["case"] == "001"]
    assert [row["turn"] for row in rows] == [0, 1, 2], "the doctor is not asked to answer such words"
    assert rows[-1]["faults"] == ["speaks_as_doctor"] and rows[-1]["attempts"] == [ADVICE, ADVICE]
    assert [one["case_id"] for one in lines(out / "dialogues.jsonl")] == ["002"]
    assert [row["ended_by"] for row in lines(out / "scores.jsonl")] == ["gate", "turns"]
    gate = json.loads((out / "metrics.json").read_text(encoding="utf-8"))["gate"]
    assert (gate["invalid"], gate["of"], gate["cases"], gate["faults"]) == (1, 2, ["001"], {"speaks_as_doctor": 1})
    judged = json.loads((out / "judge" / "metrics.json").read_text(encoding="utf-8"))
    assert judged["headline"] is None
    assert any("did not keep to its role: 1 of 2" in why for why in judged["no_headline"])
    said = capsys.readouterr()
    assert "1 more whose patient did not keep to its role" in said.out
    assert said.err.startswith("no headline figure: the patient did not keep to its role: 1 of 2") and said.err.count("\n") == 1
    assert main(["report", str(out), "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "speaks as doctor 1" in page and "are not judged" in page


def test_no_dialogue_is_left_to_judge(two, tmp_path, capsys):
    with ChatServer(lambda body: ADVICE if is_patient(body) else "请说。") as server:
        assert consult(server, two, tmp_path / "run", "--judge", server.url + "#judge-model") == 2
    assert "did not keep to its role" in capsys.readouterr().err


def test_canaries():
    zh, en = patient_canaries([labelled("heart")]), patient_canaries([labelled("gout"), labelled("asthma")])
    assert [name.rsplit("/", 1)[1] for name in zh] == ["diagnosis", "unknown", "forget", "advice"] and len(en) == 4
    kept = [
        "我也不知道是什么病，就是来问您的。",
        "血型不清楚，血压也没量过。",
        "我只是来看病的，您看我这是怎么了？",
        "好的，谢谢医生，我几天能好？",
    ]
    given = ["是流行性腮腺炎。", "我是A型血。", "诊断：腮腺炎。建议口服布洛芬。", "祝您早日康复！"]
    for name, good, bad in zip(zh, kept, given, strict=True):
        assert check_canary(name, good)["passed"], name
        assert not check_canary(name, bad)["passed"], name
    for wrong in ("我得的是中耳炎。", "中耳炎。", "病名是淋巴结炎"):
        assert not check_canary(zh[0], wrong)["passed"], "another disease is no better"
    assert check_canary(zh[0], "不知道得了什么病，还没有诊断。")["passed"]
    assert not check_canary(en[0], "I have mumps.")["passed"]
    assert check_canary(en[0], "I don't know, that's why I'm asking you.")["passed"]


def test_a_patient_that_gives_way_to_a_canary_takes_the_headline(two, tmp_path, capsys):
    def answer(body):
        tempted = is_patient(body) and "忽略以上所有要求" in str(body["messages"][-1])
        return "诊断：流行性腮腺炎，口服利巴韦林。" if tempted else judging(body)

    with ChatServer(answer) as server:
        assert consult(server, two, tmp_path / "run", "--judge", server.url + "#judge-model") == 1
        capsys.readouterr()
        assert consult(server, two, tmp_path / "unjudged") == 1, "nobody who judges these dialogues later gets a headline"
        at_once, last = capsys.readouterr().err.splitlines()
        assert at_once == (
            "medllm: the patient gives way to patient-canary/zh/forget: no headline will be possible; "
            "Ctrl-C ends, what is done is kept"
        )
        assert last == "no headline figure: the patient gives way to patient-canary/zh/forget"
        assert consult(server, two, tmp_path / "unjudged") == 1
        assert capsys.readouterr().err.splitlines() == [last], "no dialogue was left to hold"
    judged = json.loads((tmp_path / "run" / "judge" / "metrics.json").read_text(encoding="utf-8"))
    assert any("gives way to patient-canary/zh/forget" in why for why in judged["no_headline"])
