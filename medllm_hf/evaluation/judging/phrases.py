"""What the report of judge runs says, in English and Chinese; axes, styles and consultations have theirs with their tables."""

from medllm_hf.reporting.phrases import INTERVAL as INTERVAL
from medllm_hf.reporting.phrases import MINUS as MINUS
from medllm_hf.reporting.phrases import MINUS_HEAD as MINUS_HEAD
from medllm_hf.reporting.phrases import NO_NAME as NO_NAME
from medllm_hf.reporting.phrases import P_HOLM as P_HOLM
from medllm_hf.reporting.phrases import RUN as RUN
from medllm_hf.reporting.phrases import SYSTEM as SYSTEM
from medllm_hf.reporting.phrases import P as P
from medllm_hf.reporting.phrases import Phrase

TITLE = Phrase("Consultations scored by a judge", "裁判模型评分的问诊")
TITLE_UNJUDGED = Phrase("Consultations without a judge", "没有裁判的问诊")
UNJUDGED = Phrase("{run}, not judged", "{run}（没有裁判）")
NOT_COMPARABLE = Phrase(
    "Scores by another judge or rubric, by one that was shown the cases and one that was not, or of other dialogues, cannot be "
    "compared with each other.",
    "裁判不同、评分标准不同、一方看过病例而另一方没有，或对话不同，分数就不能互相比较。",
)
JUDGED_BY = Phrase("{name}, judged by {judge}", "{name}（裁判：{judge}）")
DIALOGUES_NAME = Phrase("dialogues", "对话")
WITHHELD = Phrase("withheld", "不予公布")
ALL_SYSTEMS = Phrase("all systems", "全部系统")

# How it was asked.
SHOWN = {
    "case": Phrase(
        " The judge was shown the case of each dialogue: its description, and its diagnosis where it has one.",
        "裁判看到了每段对话的病例：病情描述，以及病例中的诊断（如有）。",
    ),
    "reference": Phrase(
        " The judge was shown what the file of dialogues says of their cases.", "裁判看到了对话文件中关于病例的内容。"
    ),
    "points": Phrase(" The judge was shown the points of each case.", "裁判看到了每个病例的清单要点。"),
    "nothing": Phrase(" The judge was shown the dialogues alone, not the cases.", "裁判只看到对话，没有看到病例。"),
}
RUBRIC = Phrase(
    "Rubric {name}, version {version}, language {language}, SHA-256 {hash}; scores from {low} to {high}.",
    "评分标准 {name}，版本 {version}，语言 {language}，SHA-256 {hash}；分数从 {low} 到 {high}。",
)
RUBRIC_ALONE = Phrase(
    "Rubric {name}, version {version}, language {language}, SHA-256 {hash}.",
    "评分标准 {name}，版本 {version}，语言 {language}，SHA-256 {hash}。",
)
JUDGE = Phrase(" Judge: {about}.", "裁判：{about}。")
SETTINGS = Phrase(" Settings: {settings}.", "设置：{settings}。")
NAMED = Phrase("{name} {value}", "{name} {value}")
IMPORTED = Phrase(
    " Imported: the replies are the published ones, and the scores were read from them anew.",
    "导入：回复是公开发表的回复，分数由它们重新读出。",
)
SETTINGS_DIFFER = Phrase(
    "The runs' settings differ ({names}): a difference can come from them, not from the systems.",
    "各次运行的设置不同（{names}）：差异可能来自设置，而不是系统。",
)
NO_HEADLINE = Phrase(
    "No headline figure{where}: {why}. The scores and the comparisons are withheld here; results.json has them.",
    "{where}没有主结果：{why}。这里不公布分数和比较，它们在 results.json 中。",
)
WARNING = Phrase("Warning{where}: {text}.", "警告{where}：{text}。")
OF_RUN = Phrase(" of {run}", "（{run}）")

# Results.
OVERALL = Phrase("overall", "总体")
N, UNSCORED = Phrase("n", "n"), Phrase("unscored", "未评分")
RESULT_NOTE = Phrase(
    "Means over the scored dialogues with 95% intervals (bootstrap over dialogues); overall is the mean of the criteria. n "
    "counts the unscored dialogues too. ",
    "已评分对话的均值及 95% 置信区间（按对话的自助法）；总体是各项标准的均值。n 包括未评分的对话。",
)
BOUND = Phrase("{name} {ends}", "{name} {ends}")
BOUNDS = Phrase(
    "{name}, if all unscored dialogues had {low}, and if all had {high}: {ends}.",
    "{name}：未评分的对话若全部得 {low} 分、若全部得 {high} 分，则 {ends}。",
)
BENCHMARK = Phrase(
    "Benchmark of {run}: {name} (licence {licence}, {source}), {cases} cases.",
    "{run} 的评测基准：{name}（许可 {licence}，{source}），{cases} 个病例。",
)
UNANSWERED = Phrase(" Without an answer are {n}: {names}.", "没有回答的有 {n} 个：{names}。")
OTHER_ANSWERS = Phrase(" Answers to other cases, left out: {n}.", "对其他病例的回答，未纳入：{n}。")
PUBLISHED = {
    True: Phrase(
        " Score as published, the points reached over those that can be, averaged and then cut to 0 and 1: {scores}.",
        "按发表的算法，得分为所得分数与可得分数之比，先平均再截到 0 与 1 之间：{scores}。",
    ),
    False: Phrase(
        " Score as published, the points reached over those that can be, cut to 0 and 1 and then averaged: {scores}.",
        "按发表的算法，得分为所得分数与可得分数之比，先截到 0 与 1 之间再平均：{scores}。",
    ),
}
PUBLISHED_SCORE = Phrase("{name} {score}, n {n}, unscored {unscored}", "{name} {score}，n {n}，未评分 {unscored}")
ONE_QUESTION = Phrase(
    " The publishers ask their judge for one point at a time; here all points of a case are one question, so figures of their "
    "judges and of this one differ for that too.",
    "发布者让裁判每次只判一个要点；这里一个病例的全部要点合为一次提问，所以两边裁判的数字也会因此不同。",
)
CRITERIA_FIGURE = Phrase("mean score by criterion and system with 95% intervals", "各系统各项标准的均分及 95% 置信区间")
RADAR_FIGURE = Phrase("mean score by criterion and system on one scale", "各系统各项标准的均分（同一尺度）")

# Groups and coverage.
BY_GROUP, GROUP = Phrase("By group", "分组"), Phrase("group", "组")
GROUP_NOTE = Phrase(
    "Overall scores; those of the single criteria are in results.json.", "总体分；各项标准的分数在 results.json 中。"
)
GROUPS_FIGURE = Phrase("mean overall score by group and system with 95% intervals", "各系统各组的总体均分及 95% 置信区间")
UNSCORED_TOO = Phrase("{value}, {n} unscored", "{value}，未评分 {n}")
COVERAGE = Phrase("Cases that not all systems have", "并非所有系统都有的病例")
CASE, CASES_OF = Phrase("1 case", "1 个病例"), Phrase("{n} cases", "{n} 个病例")
ONLY_IN = Phrase("{cases} only in {systems}: {names}.", "{cases}只在 {systems} 中有：{names}。")
MISSING_IN = Phrase("{cases} missing in {systems}: {names}.", "{cases}在 {systems} 中没有：{names}。")
WITHOUT_SCORES = Phrase("Dialogues without published scores: {names}.", "没有发表分数的对话：{names}。")

# Differences.
DIFFERENCES = Phrase("Differences on the same cases", "同一批病例上的差异")
CASES = Phrase("cases", "病例数")
DETECTABLE, EQUAL_LENGTH = Phrase("detectable", "可检出差异"), Phrase("at equal length", "篇幅相同时")
TESTS = Phrase(
    "Intervals: percentiles of a paired bootstrap over cases, not corrected for the number of pairs. p: a test by "
    "random signs; "
    "Holm: corrected for all {n} pairs. Detectable: the smallest difference that such a test at 5% finds 8 times in "
    "10. At equal "
    "length: by a straight line through the differences in the doctor's characters.",
    "区间：按病例配对的自助法百分位区间，未按配对数校正。p 值：随机符号检验；Holm：按全部 {n} 对校正。"
    "可检出差异：该检验在 5% 水平下十次能检出八次的最小差异。篇幅相同时：对医生字数之差作直线拟合后的差异。",
)
WITHOUT_PARTNER = Phrase(
    "Scored cases without a partner, left out of the comparison: {one} of {first} and {two} of {second}.",
    "对方没有、因而未参与比较的已评分病例：{first} 有 {one} 个，{second} 有 {two} 个。",
)

# Repeated samples, ceilings, length.
REPEATED = Phrase("Repeated samples of the judge", "裁判的重复取样")
CRITERION = Phrase("criterion", "标准")
DIALOGUES, SAMPLES = Phrase("dialogues", "对话数"), Phrase("samples", "取样数")
KAPPA, ALPHA = Phrase("weighted kappa", "加权 kappa"), Phrase("Krippendorff's alpha", "Krippendorff alpha")
WITHIN = Phrase("standard deviation within", "取样间标准差")
REPEATED_NOTE = Phrase(
    "Kappa: quadratic weights, the mean over the pairs of samples. Alpha: interval scale. –: no score differs.",
    "Kappa：二次加权，取样两两之间的均值。Alpha：等距尺度。–：所有分数都相同。",
)
CEILING = Phrase("Share of full marks", "满分比例")
ALL_CRITERIA = Phrase("all criteria at once", "各项均满分")
AT_CEILING = Phrase(
    "Warning: at the ceiling, with {limit} or more of all verdicts at full marks: {names}. Such a criterion cannot tell good "
    "systems apart.",
    "警告：触到上限（满分占全部评分的 {limit} 或更多）：{names}。这样的标准分不出好系统之间的高下。",
)
LENGTH, CHARACTERS = Phrase("Length and score", "篇幅与分数"), Phrase("doctor's characters", "医生字数")
LENGTH_NOTE = Phrase(
    "Spearman's rank correlation of a score with the number of the doctor's characters in the dialogue.",
    "分数与对话中医生字数的 Spearman 秩相关。",
)

# Replies.
REPLIES = Phrase("Replies of the judge", "裁判的回复")
REPLIES_HEAD = (
    RUN, DIALOGUES, Phrase("replies", "回复数"), UNSCORED, Phrase("limit", "上限"),
    Phrase("canaries failed", "未通过的陷阱样例"), Phrase("headline", "主结果"), Phrase("calls", "调用次数"),
    Phrase("tokens in", "输入词元"), Phrase("tokens out", "输出词元"),
)  # fmt: skip
YES, NO = Phrase("yes", "有"), Phrase("no", "无")
SHARE = Phrase("{n} ({share})", "{n}（{share}）")
FAILED_OF, NONE_JUDGED = Phrase("{n} of {of}", "{of} 个中 {n} 个"), Phrase("none judged", "未评")
COST = Phrase("Cost of the judge in {run}: {cost}.", "{run} 中裁判的费用：{cost}。")
UNSCORED_IN = Phrase("Unscored in {run}: {why}.", "{run} 中未评分的：{why}。")
COUNTED = Phrase("{what} ({n})", "{what}（{n}）")
PASSED, FAILED = Phrase("passed", "通过"), Phrase("failed", "未通过")
CANARY_HEAD = (
    RUN, Phrase("dialogue that must score low", "应得低分的对话（陷阱样例）"), Phrase("scores", "分数"),
    Phrase("judge", "裁判"),
)  # fmt: skip

# Agreement.
AGREEMENT = Phrase("Agreement on the same dialogues", "对同一批对话的一致性")
FIRST, SECOND = Phrase("first", "前者"), Phrase("second", "后者")
RATER = Phrase("{run} ({judge})", "{run}（{judge}）")
EQUAL = Phrase("equal", "相同比例")
AGREEMENT_NOTE = Phrase(
    "n: dialogues that both scored. Kappa: quadratic weights. Alpha: interval scale. –: no score differs.",
    "n：两者都评了分的对话。Kappa：二次加权。Alpha：等距尺度。–：所有分数都相同。",
)
ONLY_ONE_HAS = Phrase("Dialogues only in {run}, beside the other: {names}.", "只在 {run} 中而另一次没有的对话：{names}。")
OTHER_WORDS = Phrase(
    "Ids with other words in {first} than in {second}: {names}.", "在 {first} 与 {second} 中编号相同而文字不同的：{names}。"
)

# Pictures.
SCALE = Phrase("mean score on the scale from {low} to {high}", "均分（分数从 {low} 到 {high}）")
GROUP_SCALE = Phrase("mean overall score on the scale from {low} to {high}", "总体均分（分数从 {low} 到 {high}）")
FIRST_GROUPS = Phrase(" (first {n} of {of} groups)", "（{of} 组中的前 {n} 组）")

# The dialogues to read: what dialogues.html.j2 and dialogues.js say.
PAGE = {
    "heading": Phrase("Dialogues", "对话"),
    "no_script": Phrase(
        "The dialogues are shown by the script of this page, which is not running.", "对话由本页的脚本显示，而脚本没有运行。"
    ),
    "set": Phrase("set", "评分组"),
    "system": SYSTEM,
    "beside": Phrase("system beside it", "并列的系统"),
    "group": GROUP,
    "score": Phrase("score", "分数"),
    "from": Phrase("from", "从"),
    "lowest": Phrase("lowest score", "最低分"),
    "to": Phrase("to", "到"),
    "highest": Phrase("highest score", "最高分"),
    "state": Phrase("state", "状态"),
    "all": Phrase("all", "全部"),
    "scored": Phrase("scored", "已评分"),
    "unscored": UNSCORED,
    "lower": Phrase("lower than beside it", "低于并列系统"),
    "higher": Phrase("higher than beside it", "高于并列系统"),
    "text": Phrase("text", "文字"),
    "previous": Phrase("previous", "上一页"),
    "next": Phrase("next", "下一页"),
    "all_systems": ALL_SYSTEMS,
    "nothing_beside": Phrase("nothing beside", "不并列"),
    "all_groups": Phrase("all groups", "全部分组"),
    "none": NO_NAME,
    "why_unscored": Phrase("unscored: {why}", "未评分：{why}"),
    "given": Phrase("what the judge was given to check against", "裁判用来核对的内容"),
    "patient": Phrase("patient", "患者"),
    "doctor": Phrase("doctor", "医生"),
    "reply": Phrase("judge's reply", "裁判的回复"),
    "sample": Phrase("judge's reply, sample {n}", "裁判的回复，第 {n} 次取样"),
    "empty": Phrase("(empty reply)", "（空回复）"),
    "earlier": Phrase("earlier reply, not usable", "先前的回复，无法采用"),
    "no_dialogue": Phrase("no dialogue on this case", "没有这个病例的对话"),
    "count": Phrase("{n} dialogues", "{n} 段对话"),
    "range": Phrase("{first} to {last} of {n} dialogues", "{n} 段对话中的第 {first} 至 {last} 段"),
}
MET_IN = Phrase("met in {n} of {of}", "{of} 次中做到 {n} 次")
MET, NOT_MET = Phrase("met", "做到"), Phrase("not met", "没有做到")
POINT = Phrase("{met} · {point} · weight {weight}", "{met} · {point} · 权重 {weight}")
