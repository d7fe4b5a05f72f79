"""Whether what a simulated patient says keeps to its role: rules over the words, no model is asked.

The rules name what small models do in place of playing: they answer as the doctor, copy the doctor's list, name the
diagnosis, give numbers that the case does not have. They read sentence by sentence, since "您建议我去哪个科？" is a
patient's question and "建议您去皮肤科。" is none.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal, TypedDict, get_args

from medllm_hf.evaluation.consultations.cases import Case
from medllm_hf.metrics.llm_judge.rubrics import Turn

Fault = Literal["empty", "end_alone", "speaks_as_doctor", "copies", "names_diagnosis", "not_in_case"]
FAULTS: tuple[Fault, ...] = get_args(Fault)
VERSION = "3"
# How often a patient is asked again, and the highest share of dialogues with a bad turn with which a headline is given.
AGAIN, INVALID_LIMIT = 2, 0.1
# A text of at least so many letters copies the other side where this share of its runs of letters stands there too.
COPIED_LETTERS, COPIED_SHARE, RUN = 9, 0.75, 5
# How many runs copy where they follow words of one's own, and the share where a whole sentence of the other side is among them.
COPIED_RUNS, COPIED_WITH_SENTENCE = 12, 0.5
# The share for what the patient was told of its role, which small models say again in the first person.
ECHOED_SHARE = 0.6

_SENTENCE = re.compile(r"[^。！？!?；;\n]+[。！？!?；;]?")
_YOU, _THEM = "(?:您|你)", r"(?:孩子|宝宝|小孩|老人|患者|病人|母亲|父亲)"
# Who says this speaks as a doctor, or as the program behind the patient.
AS_DOCTOR = (
    r"作为(?:您的|你的)?(?:一[名位个])?(?:[\u4e00-\u9fff]{0,4}科)?(?:专业)?(?:的)?(?:医生|医师|大夫|AI|人工智能|语言模型|助手)"
    r"|\bas (?:your|an?) (?:doctor|physician|AI|language model|assistant)\b"
    r"|\bI(?:'| a)?m (?:your|an?) (?:doctor|physician|AI|language model|assistant)\b"
)
# Sentences that only these say.
_VOICE = re.compile(
    rf"{AS_DOCTOR}"
    r"|我是(?:您的|你的)?(?:一[名位个])?(?:[\u4e00-\u9fff]{0,4}科)?(?:主治|在线|线上|网络|专业|家庭|值班|智能)*"
    r"(?:AI|医生|医师|大夫|人工智能|语言模型|大?模型|助手|助理)(?!的|说|家)"
    r"|\A\W*(?:医生|大夫|医师|Doctor)\s*[:：]"
    rf"|祝{_YOU}?.{{0,4}}(?:早日|尽快|健康|康复|平安)|希望(?!我|他|她).{{0,8}}早日(?:康复|恢复|痊愈)|(?:感谢|谢谢){_YOU}的(?:咨询|信任|提问|描述|配合)"
    rf"|欢迎.{{0,6}}(?:咨询|提问|联系)|为{_YOU}(?:服务|解答|提供|分析)|随时(?:联系|咨询|告诉|问|可以问)我|不客气|有什么(?:我)?(?:可以|能)(?:我)?帮"
    rf"|(?:根据|从|按照?|结合){_YOU}(?:的|所|提供|描述|目前)(?!.{{0,2}}(?:建议|指示|指导|要求|方法|意见|方案|嘱咐|说法|安排|吩咐))"
    rf"|请{_YOU}?(?:先|再)?(?:详细|具体|简单)?地?(?:描述|提供|补充|说明一?下{_YOU})"
    rf"|请{_YOU}(?:先|再)?(?:去|做好|到|按|配合|前往|完善|尽快|及时|务必|注意|保持|放心)"
    rf"|我们?(?:会|将|来|可以|能|需要|想)?(?:帮助?|为){_YOU}|我们?(?:会|将|来|可以|先)?给{_YOU}(?:开|安排|制定|预约)"
    rf"|我们?(?:会|将|来|可以|先|就)?(?:尽快|马上|立即|现在)?(?:先)?安排{_YOU}"
    rf"|请{_YOU}?告诉我(?:这些|以上|以下|上述|{_YOU}[^，,。？?]{{0,4}}的)[^，,。？?]{{0,6}}(?:信息|情况|细节|症状|病史|结果)"
    r"|我会?再?根据[^，,。]{0,8}(?:判断|决定|评估)[^，,。]{0,6}(?:用药|治疗|抗生素|住院)"
    rf"|(?:宝妈|宝爸|家长)[，,]?{_YOU}好|{_YOU}(?:先)?(?:别|不要|不必)(?:着急|担心|紧张|害怕)|对{_YOU}有(?:所)?帮助"
    # Of the play itself.
    r"|扮演|就诊者的?(?:身份|口吻)|说出诊断|病历资料|资料[里中](?:没|写|提)"
    rf"|我(?:还)?需要(?:进一步|更多|先)?(?:了解|知道)(?:一下)?(?:更多|{_YOU}|关于|(?:{_THEM}的)?(?:症状|病史))|以便(?:我|更好)|为了(?:更好|更准确|能够?更好)地?(?:帮助|了解|判断|诊断)"
    r"|\bhow (?:can|may) I (?:help|assist)\b"
    r"|\bI(?:'| a)m (?:here|happy|glad) to (?:help|assist)\b|\bI hope you (?:feel|get|recover)|\bget well soon\b"
    r"|\bfeel free to\b"
    r"|\bbased on (?:your|the) (?:symptom|description|information)|\bconsult (?:a|an|your|with)\b"
    r"|\bseek (?:immediate )?medical\b"
    r"|\bI (?:would |strongly |'d )?(?:advise|recommend|suggest)\b(?! (?:by|to me))|\bsorry to hear\b",
    re.I,
)
# Who is told to give an advice or has given one: where it stands before the word, the advice is not the patient's own.
_GIVER = re.compile(
    r"(?:您|你|医生|大夫|医院|药店|朋友|同事|家人|别人|人家|有人|的人|护士|老师|妈|爸|他|她|什么|啥|哪些)[^，,。]{0,6}\Z"
)
_ADVICE = re.compile(
    r"建议(?=您|你|患者|病人|孩子|老人|及时|尽快|立即|马上|先|到|去|带|做|多|避免|控制|清淡|进行|完善|在|可以|咨询|注意|采取|定期|口服|"
    r"使用|服用|继续|卧床|饮食|保持|前往|选择|住院|检查|适当|寻求|就|再次|复诊|复查|随诊|观察|休息|密切|每)|有助于(?=恢复|康复|缓解|改善|减轻)"
)
_MUST = r"(?:可以|应该|应当|需要|必须|最好|不要|要|可能|尽量|务必|得|不能|不宜|应)"
# Told to somebody else than oneself; only in sentences that neither ask nor speak of oneself.
_TOLD = re.compile(
    rf"{_YOU}(?:的{_THEM}|家{_THEM})?(?:现在|目前|平时|也|还|就|先|这种情况|的情况|的症状)*{_MUST}|{_YOU}(?:母亲|父亲|的孩子|家人)?的(?:情况|症状|描述|病情)"
    rf"|{_YOU}的{_THEM}(?:可能|有|是|需要|应该)"
    rf"|请{_YOU}?(?!问|教|医生|大夫|假|您?(?:帮|看|告诉|给|说|再|讲|放心|开))"
    rf"(?:让|及时|尽快|立即|马上|务必|注意|不要|遵|咨询|到|前往|保持|避免|按|先|多|继续|放心|定期|配合|随时|尽量|密切)"
    r"|(?:需要|应该?|应当|可以?|建议|必要时|避免|注意)(?:尽早|进一步|立即|及时|定期|先)?"
    r"(?:进行|完善|给予|采取|口服|外用|物理降温|静脉|搔抓|监测|引起重视|用物理|密切|评估|就医|就诊|排除|明确)"
    r"|(?:及时|尽快|尽早|立即|马上|必要时)(?:就医|就诊|到医院|前往|去医院|送医|口服|咨询|复查)"
    r"|(?<!说)(?<!说这)(?<!说那)是正常的?(?:现象|反应)?[，,]?(?:不需要|不用|无需|不必)"
    r"|(?:初步|首先|需要?|可)?考虑(?:是|为|有)?[^，,。]{0,8}(?:感染|可能|炎|病|症|引起|所致)|忌食|禁食辛辣|提示[^，,。]{0,12}(?:升高|异常|感染|可能|炎)"
    r"|(?:\d小时|[一每][天日])内?不(?:要|能|可|得|宜)?超过[\d一二两三四五六]+[次片粒]"
    r"|控制饮食|清淡饮食，|戒烟限酒|遵医嘱|医生(?:通常|一般|可能)?会(?:开|建议|根据|进行|使用|安排|给[您你]|让[您你])"
)
# Explained as textbooks do; only in sentences that neither ask nor speak of oneself.
_LECTURE = re.compile(
    r"(?:通常|一般|往往|常)(?:由|是由|伴有|伴随|需要|表现为|可以?通过|会导致)|是一种(?:常见|慢性|急性|严重|由|[^，,。]{0,6}(?:疾?病|炎症|障碍|感染|肿瘤))|[次天周]一个疗程|典型的?(?:表现|症状)|(?:患儿|患者)常|是(?:身体|人体|机体)的"
    r"|由于?[^，,。；]{1,14}(?:引起|导致|所致)|取决于|有所不同|有助于|(?:非常|十分|至关)重要|(?:期间|患者|病人)(?:应|可以|需|要|不宜)"
    r"|注意(?:补充|观察|保暖|保持|休息|饮食|个人卫生)"
    r"|\bis (?:a|an) (?:common|chronic|type of)\b|\bis (?:often|usually|typically) caused by\b"
)
_TOLD_EN = re.compile(
    r"\byou (?:should|may|might|need to|must|could|have to|can)(?! be right)\b|\bplease (?:consult|see|seek|describe|provide|"
    r"make sure|monitor|avoid|rest|drink|follow|let me know|take|keep)\b"
    r"|\bit(?:'| i)s (?:important|best|advisable|recommended) (?:to|that)\b",
    re.I,
)
# What a doctor asks.
_ASKED = re.compile(
    # A relative asks what a doctor does, of tests, treatment and outlook: "宝宝需要做哪些检查呢？"
    rf"(?:{_YOU}|(?:请问|\A\W*){_THEM}(?![^。！？!?]{{0,100}}(?:检查|治疗|方法|办法|恢复|用药|药物|预防|影响|风险|后遗|传染)))(?!们?(?:觉得|认为|看|说|建议|能|可以|帮|那|知道|方便|推荐|是说|是指|这里|给|有什么(?:建议|办法|药|好)))[^。！？!?]{{0,24}}?"
    r"(?:有没有|有无|是否|多久|多长|哪里|哪儿|哪个部位|什么时候|什么症状|哪些症状|之前|以前|平时|最近|近期|接触过|[吃用做得打种]过|多大|年龄|"
    r"需要(?:进一步的?|做|接受)?[^，,。]{0,4}(?:检查|治疗|帮助|咨询|服务)|出汗|不舒服|怎么不好|过敏|症状|伴有|加重|病史|体温|[吃喝睡疼痛烧痒咳]了?[吗多])"
    r"|请问(?:是否|有没有|有无|伴有|还有(?!(?:其他|别的|什么|哪些)[^。！？!?]{0,4}(?:建议|方法|办法|治疗|手段|药|注意|需要))|疼痛|症状|多久|多大|哪里)|有没有(?:其他|别的|伴随|以下|什么)(?:的)?(?:症状|不适|不舒服|病史)|哪里不舒服"
    rf"|(?:能|可以|可否|能否)(?:请{_YOU})?(?:详细|具体)?(?:描述|告诉我|说说)(?:一下)?{_YOU}"
)
_ASKED_EN = re.compile(
    r"\b(?:how long|when|where|what|which|how) (?:\w+ ){0,2}?(?:have|did|do|are|were|is|does) (?:you|your)\b"
    r"|\b(?:do|did|have|are|were|can|could|would|will) you "
    r"(?!think|recommend|know|mean|want|suggest|say|advise|help|believe|promise|sure\b|certain\b|treat"
    r"|seen? (?:this|it|that|such|many)\b|have to (?:operate|admit|cut)|tell me (?:what|how|if|whether)\b)"
    r"|\bany (?:allergies|other symptoms|family history)\b",
    re.I,
)
# What a relative asks of the one who is ill, or a worried patient of the doctor, in words that a doctor asks with too.
_SEEKS = re.compile(
    rf"\A\W*{_THEM}.*(?:会不会|是不是|要不要|用不用|需不需要|需要[^，,。]{{0,8}}(?:检查|治疗|住院|手术|吃药|打针)|怎么(?:办|治|吃|护理)"
    r"|(?:什么时候|多久|几天)(?:能|可以|才)|(?:正常|严重|要紧)吗|会[^，,。]{0,8}[吗好]|应该|吃什么(?:比较|才)?好)"
    rf"|{_YOU}[^，,。]{{0,8}}(?:(?:见|遇到|碰到|治|接诊)过|把握|经验|给[^，,。]{{0,4}}(?:查|看)过)|{_YOU}(?:确定|肯定|保证)"
)
# Who tells what others have said does not say it.
_REPORTED = re.compile(r"网上|百度|听说|人家说|别人说|书上|说明书")
_OWN = re.compile(r"我|俺|咱")
_OWN_EN = re.compile(r"\b(?:I|me|my|mine|she|he|her|his)\b")
_AGREES = re.compile(r"\A\W*(?:好的?|嗯|行|明白|知道了|谢谢|哦|okay|ok|thanks|thank you)", re.I)
# An item of a list with its head in bold letters, as assistants write them and patients do not speak.
_LIST = re.compile(r"^[^\S\n]*+(?:\d++[.、]|[-*•])\s*+\*\*", re.M)
_QUESTION = re.compile(
    r"[？?]\s*\Z|[吗呢吧么]\W*\Z|怎么办|什么|哪|几(?=[^。！]{0,100}[？?呢])|多少|要不要|能不能|是不是|会不会|可不可以|需不需要"
)


class GateRecord(TypedDict):
    """What a manifest says of the gate."""

    version: str
    again: int
    limit: float


def gate_record() -> GateRecord:
    """The gate of a new run."""
    return {"version": VERSION, "again": AGAIN, "limit": INVALID_LIMIT}


def turn_faults(case: Case, turns: Sequence[Turn], text: str, ended: bool, may_end: bool, told: str = "") -> list[Fault]:
    """The faults of a patient's next words, in the order of `FAULTS`.

    Args:
        turns: What was said before, by both sides.
        text: The words without the end mark.
        ended: Whether the end mark was there.
        may_end: Whether the patient may end the consultation here, without a word too.
        told: What the patient was told of its role, which it may not recite.
    """
    if not re.search(r"\w", text):
        return [] if ended and may_end else ["end_alone"] if ended else ["empty"]
    doctor = [turn["content"] for turn in turns if turn["role"] == "doctor"]
    own = "\n".join([case.description, *(turn["content"] for turn in turns if turn["role"] == "patient")])
    speaks = speaks_as_doctor(text, case.description)
    checks: dict[Fault, bool] = {
        "speaks_as_doctor": speaks,
        "copies": any(copies(text, words, own) or (speaks and _repeats(text, words)) for words in doctor)
        or copies(text, told, case.description, ECHOED_SHARE),
        "names_diagnosis": names_diagnosis(case, turns, text),
        "not_in_case": bool(unknown_numbers(text, [case.description, *(turn["content"] for turn in turns)]))
        or _changes_sex(case.description, text),
    }
    return [fault for fault in FAULTS if checks.get(fault)]


def speaks_as_doctor(text: str, record: str = "") -> bool:
    """Whether a sentence asks for symptoms, advises, or wishes a recovery, as the other side of the talk does.

    Not by clauses that begin as the patient's own `record` has them: "考虑结肠息肉的可能" is what a report says.
    """
    return bool(_LIST.search(text)) or any(
        _is_doctors(sentence) and _is_doctors(_without(record, sentence)) for sentence in _SENTENCE.findall(text)
    )


def _without(record: str, sentence: str) -> str:
    heads = ((clause, _letters(clause)[: RUN + 1]) for clause in _CLAUSE.findall(sentence))
    return "".join(clause for clause, head in heads if len(head) <= RUN or head not in _letters(record))


def _is_doctors(sentence: str) -> bool:
    if _VOICE.search(sentence):
        return True
    for found in _ADVICE.finditer(sentence):
        own = sentence[: found.start()]
        if not _GIVER.search(own) and not _QUESTION.search(sentence):
            return True
    spoken = _OWN_EN.search(sentence) if sentence.isascii() else _OWN.search(sentence)
    if spoken or _REPORTED.search(sentence):
        return False
    if _SEEKS.search(sentence) and _QUESTION.search(sentence):
        return False
    if _QUESTION.search(sentence) and (_ASKED.search(sentence) or (sentence.isascii() and _ASKED_EN.search(sentence))):
        return True
    return (
        not _AGREES.search(sentence)
        and not _QUESTION.search(sentence)
        and any(words.search(sentence) for words in (_TOLD, _TOLD_EN, _LECTURE))
    )


def _repeats(text: str, words: str) -> bool:
    """Whether a whole sentence of a doctor's `words` stands in a text that speaks as one, with whatever else."""
    said = _letters(text)
    return any(len(sentence) > RUN and sentence in said for sentence in map(_letters, _SENTENCE.findall(words)))


def copies(text: str, words: str, own: str = "", share: float = COPIED_SHARE) -> bool:
    """Whether most of `text` stands in `words`, which the other side has said, and not in what is the patient's `own`."""
    asks, whole = _QUESTION.search(text), {_letters(sentence) for sentence in _SENTENCE.findall(words)}
    mine = [_letters(sentence) for sentence in _SENTENCE.findall(text)]
    # The question that was asked, in place of an answer or behind a piece of one.
    asks_back = bool(asks and mine and len(mine[-1]) >= RUN and mine[-1] not in _letters(own))
    asks_back = asks_back and any(sentence.endswith(mine[-1]) for sentence in whole)
    text, words, own = _letters(text), _letters(words), _letters(own)
    if len(text) < COPIED_LETTERS:
        # "咳嗽或者呕吐" says back both of what was asked about.
        there = text in whole or (re.search("或|还是", text) and text in words)
        return bool(len(text) > RUN and there and text not in own and not asks)
    runs = [text[i : i + RUN] for i in range(len(text) - RUN + 1)]
    theirs, known = ({one[i : i + RUN] for i in range(len(one) - RUN + 1)} for one in (words, own))
    theirs -= known
    copied = sum(run in theirs for run in runs)
    # Behind words of its own too: "医生您好，我牙疼。建议您去口腔科，少吃甜的，按时刷牙。"
    others = sum(run not in known for run in runs)
    if asks_back or copied >= share * len(runs) or copied >= max(share * others, COPIED_RUNS):
        return True
    # "好的，我来验个血，看看结果。这几天多休息，吃清淡一些。": the last sentence is the doctor's to the letter.
    said = [sentence for sentence in mine if len(sentence) >= COPIED_LETTERS and sentence in whole and sentence not in own]
    return bool(said) and copied >= COPIED_WITH_SENTENCE * len(runs)


def _letters(text: str) -> str:
    """`text` in one form of its letters, without blanks and punctuation."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())


# Words before the name of a disease that people leave out, and what people call some diseases.
_PREFIX = re.compile(
    r"\A(?:急性|亚急性|慢性|原发性|继发性|先天性|复发性|重症|轻度|中度|重度|早期|晚期|非?典型|单纯性|[左右双]侧|[0-9一二ⅠⅡI]+型|"
    r"小儿|化脓性|坏疽性|穿孔性|出血性|缺血性|梗阻性|感染性|细菌性|渗出性|浸润性|特发性|"
    r"acute |chronic |primary |type [12I]+ )+",
    re.I,
)
# What is left of 小儿腹泻 or 慢性咳嗽 without these words is a complaint, which gives nothing away.
_COMPLAINT = re.compile(
    r"(?:腹泻|腹痛|腹胀|便秘|便血|呕吐|恶心|咳嗽|咯血|发[热烧]|头[痛晕疼]|眩晕|胸[痛闷]|心悸|失眠|乏力|水肿|消瘦|厌食|皮疹|瘙痒|"
    r"疼痛|[腰背颈肩膝关节]+[痛疼]|血尿|尿频|黄疸|抽搐|惊厥|鼻出血|流鼻血|耳鸣|痛经|打鼾|diarrh?o?ea|cough|fever|headache|vomiting|pain)",
    re.I,
)
_CALLED = (
    ("心肌梗", ("心梗", "心肌梗死", "心肌梗塞")),
    ("脑梗", ("脑梗", "脑中风", "中风", "卒中")),
    ("脑出血", ("脑溢血", "中风", "卒中")),
    ("冠状动脉粥样硬化", ("冠心病",)),
    ("高血压", ("高血压",)),
    ("糖尿病", ("糖尿病",)),
    ("手足口", ("手足口",)),
    ("慢性阻塞性肺", ("慢阻肺", "copd")),
    ("肺结核", ("肺结核", "结核病")),
    ("甲状腺功能亢进", ("甲亢",)),
    ("甲状腺功能减退", ("甲减",)),
    ("上呼吸道感染", ("上感", "感冒")),
    ("腰椎间盘突出", ("椎间盘突出", "腰突")),
    ("心房颤动", ("房颤",)),
    ("心力衰竭", ("心衰",)),
    ("支气管哮喘", ("哮喘",)),
    ("乙型", ("乙肝",)),
    ("胃肠炎", ("肠胃炎",)),
    ("类风湿", ("类风湿",)),
    ("红斑狼疮", ("红斑狼疮", "狼疮")),
    ("阿尔茨海默", ("老年痴呆",)),
    ("多囊卵巢", ("多囊",)),
    ("带状疱疹", ("带状疱疹", "缠腰龙")),
    ("抑郁", ("抑郁症",)),
    ("myocardial infarction", ("heart attack",)),
    ("stroke", ("stroke",)),
    ("hypertension", ("high blood pressure",)),
)
_KIN = re.compile(
    r"[妈爸父母爹娘奶爷姥婆哥姐弟妹姨叔姑舅]|家里|家族|亲戚|\b(?:mother|father|mum|mom|dad|sister|brother|family)\b", re.I
)
_DENIED = re.compile(
    r"(?:不是|没有|没得|没患|没查出|并非|无|排除|否认|不像)[^，,。；;]{0,8}\Z"
    r"|\b(?:not|no|never|don't have|isn't)\b[^,.;]{0,20}\Z",
    re.I,
)
_CLAUSE = re.compile(r"[^，,。！？!?；;\n]+[，,。！？!?；;]?")


def disease_names(diagnosis: str) -> tuple[str, ...]:
    """The names by which a patient gives the diagnosis away: the written ones, also without 急性, and what people say."""
    names: dict[str, None] = {}
    for written in re.split(r"[、，,；;/\n（）()]|及|伴|合并|\d[.．、)]", diagnosis):
        name = written.strip().rstrip("。.")
        short = _PREFIX.sub("", name)
        # 轮状病毒肠炎 for 轮状病毒性肠炎, 甲状腺功能亢进 for 甲状腺功能亢进症
        looser = (re.sub("(?<=..)性(?=..)", "", short), re.sub("(?<=.{4})[症病]$", "", short))
        names |= dict.fromkeys(part for part in (name, short, *looser) if len(_letters(part)) > 1)
        names |= {said: None for part, all_said in _CALLED if part in name.casefold() for said in all_said}
    return tuple(names)


def names_diagnosis(case: Case, turns: Sequence[Turn], text: str) -> bool:
    """Whether `text` gives away the diagnosis of the case before anybody else has named it.

    Not what is denied ("我不是高血压"), a relative's disease that the case tells, or a name in the patient's first question.
    """
    heard = "\n".join(turn["content"] for turn in turns)
    names = [name for name in disease_names(case.diagnosis) if not _COMPLAINT.fullmatch(name)]
    if any(_was_named(heard, name) for name in names):
        return False
    for clause in _CLAUSE.findall(text):
        for name in names:
            place = _loose_place(clause, name)
            if place < 0 or (_KIN.search(clause[:place]) and _has(case.description, name)):
                continue
            if not _DENIED.search(clause[:place]) or re.search(r"[吧吗？?]\W*\Z", clause):
                return True
    return False


def _was_named(heard: str, name: str) -> bool:
    """Whether the name was said, perhaps loosely: 抑郁 for 抑郁症, 轮状病毒引起的肠炎 for 轮状病毒肠炎."""
    loose = re.sub("(?<=..)[症病]$", "", name)
    if _has(heard, loose) or loose.isascii():
        return _has(heard, loose)
    return any(_has(heard, loose[:cut]) and _has(heard, loose[cut:]) for cut in range(3, len(loose) - 1))


def _loose_place(text: str, name: str) -> int:
    """As `_place`, also where a word or two stand inside a longer name: 十二指肠球部溃疡 for 十二指肠溃疡."""
    if (place := _place(text, name)) >= 0 or name.isascii() or len(name) <= RUN:
        return place
    found = re.search(rf"{re.escape(name[:-2])}.{{1,3}}{re.escape(name[-2:])}", text)
    return found.start() if found else -1


def _has(text: str, name: str) -> bool:
    return _place(text, name) >= 0


def _place(text: str, name: str) -> int:
    """Where a text has the name, -1 for nowhere; one of Latin letters must stand as words of its own."""
    if name.isascii():
        words = r"\W+".join(map(re.escape, re.findall(r"\w+", name)))
        found = re.search(rf"(?<![A-Za-z0-9]){words}(?![A-Za-z0-9])", text, re.I)
        return found.start() if found else -1
    return unicodedata.normalize("NFKC", text).casefold().find(unicodedata.normalize("NFKC", name).casefold())


_NUMBER = re.compile(r"(?<![A-Za-z\d.])\d+(?:\.\d+)?(?!\d|[A-Za-z]?型)")
# No longer than people say, and not begun within another, so that a row of figures is read once.
_NUMERAL = re.compile(r"(?<![一二两三四五六七八九十])[一二两三四五六七八九十]{1,6}")
# An amount in words, but for one and two, which people say of anything: 三十九度二, 十斤.
_AMOUNT = re.compile(
    rf"({_NUMERAL.pattern})(?:多|几)?(?:(度)([一二三四五六七八九])?|公斤|斤|岁|毫克|毫升|片|包|支|个月|周|年|天(?!两头))"
)
_ITEM = re.compile(r"^[^\S\n]*+\d++[.、)）](?!\d)", re.M)
_DIGITS = dict(zip("一二两三四五六七八九", (1, 2, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))
_WORDS = dict(
    zip(
        ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve", "twenty"],
        (*range(1, 11), 12, 20),
        strict=True,
    )
)
# Numbers that everybody has without a case: emergency calls, and "one".
_FREE = {1.0, 110.0, 119.0, 120.0, 911.0, 999.0, 112.0}


def _changes_sex(description: str, text: str) -> bool:
    """Whether one whose case begins with its sex gives the other one."""
    of, said = (
        re.match(r"\W*(男|女)(?:性)?[，,。、/ ]", description),
        re.search(r"我是(?:一[个名位])?(男|女)(?:性|的|士|生|，)", text),
    )
    return bool(of and said and of[1] != said[1])


def unknown_numbers(text: str, sources: Iterable[str]) -> list[str]:
    """The numbers in figures that none of the sources has, in figures or in words; 14 is known by 14.2, and "3" by "三"."""
    known = set(_FREE)
    for source in sources:
        source = unicodedata.normalize("NFKC", source)
        known |= {float(number) for number in re.findall(r"\d+(?:\.\d+)?", source)}
        known |= {float(".".join(parts)) for parts in re.findall(r"(?<![\d.,])(\d{1,6}),(\d{1,2})(?![\d.,])", source)}  # 39,4
        known |= {float(_value(numeral)) for numeral in _NUMERAL.findall(source)}
        # Half a kilogram is a 斤.
        known |= {
            2 * float(number) for number in re.findall(r"(?<![\d.])(\d{1,6}(?:\.\d{1,6})?)\s?(?:公斤|千克|kg)", source, re.I)
        }
        known |= {2.0 * _value(numeral) for numeral in re.findall(rf"({_NUMERAL.pattern})公斤", source)}
        known |= {float(_WORDS[word]) for word in re.findall(r"[a-z]+", source.casefold()) if word in _WORDS}
    finite = {number for number in known if math.isfinite(number)}  # four hundred figures in a row are none
    known |= {float(int(number)) for number in finite} | {float(round(number)) for number in finite}
    written = _ITEM.sub("", unicodedata.normalize("NFKC", text))
    claims = " ".join(sentence for sentence in _SENTENCE.findall(written) if not _QUESTION.search(sentence))
    amounts = {found[0]: _value(found[1]) + _DIGITS.get(found[3], 0) / 10 for found in _AMOUNT.finditer(claims)}
    unknown = [words for words, value in amounts.items() if value > 2 and value not in known]
    return unknown + [number for number in _NUMBER.findall(written) if float(number) not in known]


def _value(numeral: str) -> int:
    """The value of a Chinese numeral below a hundred; of a longer row of figures, that of its last one."""
    head, ten, tail = numeral.partition("十")
    if not ten:
        return _DIGITS[numeral[-1]]
    return 10 * (_DIGITS.get(head[-1:], 1)) + _DIGITS.get(tail[:1], 0)
