"""What the report of exam runs says, in English and Chinese."""

from collections.abc import Mapping

from medllm_hf.reporting.blocks import interval, percent
from medllm_hf.reporting.phrases import INTERVAL as INTERVAL
from medllm_hf.reporting.phrases import MINUS as MINUS
from medllm_hf.reporting.phrases import MINUS_HEAD as MINUS_HEAD
from medllm_hf.reporting.phrases import NO_NAME as NO_NAME
from medllm_hf.reporting.phrases import P_HOLM as P_HOLM
from medllm_hf.reporting.phrases import RUN as RUN
from medllm_hf.reporting.phrases import SYSTEM as SYSTEM
from medllm_hf.reporting.phrases import P as P
from medllm_hf.reporting.phrases import Phrase, Text

TITLE = Phrase("Accuracy on multiple-choice questions", "选择题准确率")
ALL_RUNS = Phrase("All runs", "全部运行")
NOT_COMPARABLE = Phrase("Runs on different questions cannot be compared with each other.", "题目不同的运行之间不能比较。")
DATASET = Phrase("{name}, {split} split", "{name}（{split} 集）")
AGAINST_FIRST = Phrase("Each run against the first, {run}.", "各次运行与第一个运行 {run} 比较。")
MORE = Phrase("{n} more are in results.json.", "其余 {n} 项见 results.json。")

# Heads of columns.
MODEL = Phrase("model", "模型")
QUESTIONS = Phrase("questions", "题目")
ACCURACY = Phrase("accuracy", "准确率")
N = Phrase("n", "题数 n")
UNPARSED = Phrase("unparsed", "未解析")
CHANCE = Phrase("chance", "随机水平")
MACRO = Phrase("macro accuracy", "学科平均准确率")
PARTIAL = Phrase("partial credit", "部分得分")
READING = Phrase("reading", "读法")
TIES = Phrase("ties", "并列")
AGAIN = Phrase("asked once more", "再问一次后")
SUBJECT = Phrase("subject", "学科")
EXAMPLES = Phrase("examples", "示例")
PUBLISHED = Phrase("accuracy as published", "发表的准确率")

# What was asked.
OVERVIEW_DATA = Phrase("{name}{split} ({hash})", "{name}{split}（{hash}）")
OVERVIEW_LIMITED = Phrase(", limited to {n} of {of}", "，只做 {of} 题中的前 {n} 题")
COUNT = Phrase("{n} questions ({single} with one right answer, {multi} with several)", "{n} 题（单选 {single}，多选 {multi}）")
COUNT_ONE = Phrase("1 question ({single} with one right answer, {multi} with several)", "1 题（单选 {single}，多选 {multi}）")
COUNT_RANGE = Phrase("{low} to {high} questions", "{low} 至 {high} 题")
HASHED = Phrase("{asked}; SHA-256 {hash}.", "{asked}；SHA-256 {hash}。")
REVISION = Phrase(" Revision: {name}.", "修订版：{name}。")
LICENCE = Phrase(" Licence: {name}.", "许可：{name}。")
LEFT_OUT = Phrase(" Left out: {kinds}.", "未纳入：{kinds}。")
LEFT_OUT_KIND = Phrase("{kind} {n}", "{kind} {n} 题")

# Results.
RESULT_NOTE = Phrase(
    "Unparsed replies count as wrong. Intervals are Wilson's. Macro accuracy is the mean over the subjects.",
    "未解析的回复按答错计。区间为 Wilson 区间。学科平均准确率是各学科准确率的平均。",
)
PARTIAL_NOTE = Phrase(
    " Partial credit gives a question the share of its right letters, 0 with a wrong one.",
    "部分得分：一题得其正确选项中选对的比例，选了错项为 0。",
)
SETTINGS = Phrase("Settings: {settings}.", "设置：{settings}。")
SETTINGS_OF_ALL = Phrase("Settings of all runs: {settings}.", "各次运行的共同设置：{settings}。")
SETTING = Phrase("{name} {value}", "{name} {value}")
YES, NO, NOTHING = Phrase("yes", "是"), Phrase("no", "否"), Phrase("–", "–")
TRIAL = Phrase(
    "Limited to the first {n} of {of} questions: a trial, not a result on the benchmark.",
    "只做了 {of} 题中的前 {n} 题：是试跑，不是该题集的结果。",
)
TIES_NOTE = Phrase(
    "{run}: {n} ties{of}. The best answers are exactly as likely as each other, so the model prefers none; none is taken, and "
    "the question counts as unparsed.",
    "{run}：并列 {n} 题{of}。最优的几个答案概率完全相同，模型没有偏好，因此一个也不取，该题按未解析计。",
)
OF_PROMPTS = Phrase(" of {n} prompts", "（共 {n} 次提问）")
FINISHED = Phrase("{share}, {n} asked{of}", "{share}，再问 {n} 次{of}")
FINISHED_NOTE = Phrase("{run}, unread replies asked once more: {finished}.", "{run}，对未解析的回复再问一次：{finished}。")
COST = Phrase("Cost of {run}: {cost}.", "{run} 的费用：{cost}。")
SETTINGS_DIFFER = Phrase(
    "The runs' settings differ ({names}): a difference in accuracy can come from them, not from the models.",
    "各次运行的设置不同（{names}）：准确率的差异可能来自设置，而不是模型。",
)
ENDPOINT = Phrase("endpoint", "服务")
SHARE = Phrase("{share} ({ends})", "{share}（{ends}）")
ACCURACY_FIGURE = Phrase(
    "accuracy with 95% intervals; the dashed line is the chance level", "准确率及 95% 置信区间；虚线为随机水平"
)

# Figures of others.
QUOTED = Phrase("Quoted, not measured here", "引用的结果，并非本次测得")
QUOTED_NOTE = Phrase(
    "The ids of these questions, the prompts and the extractor were not released, so these figures can be set beside a run but "
    "not reproduced. n is inferred from the figures and from the README's totals (1,362, a tenth of MLEC-QA's test questions, "
    "and 270). The number of examples of the few-shot figures is not stated.",
    "这些题目的编号、提示词和答案提取程序都没有公开，所以这些数字只能并列参考，无法复现。n 由这些数字和 README 中的总数推得"
    "（1,362，即 MLEC-QA 测试题的十分之一，以及 270）。few-shot 所用的示例数没有说明。",
)
MISPRINT = Phrase(
    " * No number of right answers out of n gives this figure: probably a misprint.",
    "* 在 n 题中答对任何题数都得不出这个数字：可能是印刷错误。",
)
SOURCE = Phrase(" Source:", "来源：")

# Subjects, comparisons, rotations.
BY_SUBJECT = Phrase("By subject", "分学科")
SUBJECT_UNPARSED = Phrase(", {n} unparsed", "，未解析 {n}")
SUBJECTS_FIGURE = Phrase(
    "accuracy by subject with 95% intervals; ticks are the chance levels", "分学科准确率及 95% 置信区间；短竖线为随机水平"
)
DIFFERENCES = Phrase("Differences on the same questions", "同一批题目上的差异")
PAIRS = Phrase("pairs", "配对题数")
ONLY_FIRST = Phrase("only first right (b)", "仅前者对 (b)")
ONLY_SECOND = Phrase("only second right (c)", "仅后者对 (c)")
DIFFERENCE = Phrase("difference", "差值")
POINTS = Phrase("{points} points", "{points} 个百分点")
TESTS = Phrase(
    "p: McNemar's exact test. Interval: Newcombe's for paired proportions (1998, method 10).",
    "p 值：McNemar 精确检验。区间：Newcombe 配对比例区间（1998，方法 10）。",
)
HOLM = Phrase(" Holm: corrected for the number of comparisons.", "Holm：按比较次数校正。")
BY_ROTATIONS = Phrase(
    "Circular runs are compared by the questions of which all rotations are right.", "轮换选项的运行按各轮换均答对的题目比较。"
)
WITHOUT_PARTNER = Phrase(
    "Questions without a partner in the other run, left out of the comparison: {one} of {first} and {two} of {second}.",
    "另一运行没有、因而未参与比较的题目：{first} 有 {one} 题，{second} 有 {two} 题。",
)
CIRCULAR = Phrase("Circular evaluation", "轮换选项评测")
ALL_RIGHT = Phrase("all rotations right", "各轮换均答对")
FIRST_RIGHT = Phrase("first rotation right", "首次轮换答对")
SAME_OPTION = Phrase("same option in all rotations", "各轮换选同一选项")
PROMPTS = Phrase("prompts", "提问次数")
CIRCULAR_NOTE = Phrase(
    "The chance level of a circular run is that of choosing an option once and keeping to it.",
    "轮换选项的随机水平按“随机选定一个选项并始终选它”计算。",
)

# Position bias and confusion.
BIAS = Phrase("Position bias", "位置偏差")
BIAS_NOTE = Phrase(
    "Counted over answers that choose one option of a single-answer question, letters as shown. A bias is named when the wrong "
    "answers are spread unevenly (chi-square, exact for few, p < {p}) and one place gets at least {share} in 100 answers more, "
    "or less, than with the mistakes spread evenly (expected). With options in their own order, what stands at a "
    "place can draw "
    "answers too; shuffled and circular runs tell the two apart.",
    "只统计单选题中恰好选了一个选项的回答，字母按显示的顺序。错误答案在各位置上分布不均（卡方检验，"
    "次数少时用精确检验，p < {p}），"
    "且某一位置的回答比错误均匀分布时（期望）每 100 个至少多或少 {share} 个，才判为有偏差。选项按原顺序显示时，"
    "某位置上的内容本身也可能吸引回答；打乱或轮换选项的运行可以区分两者。",
)
BIAS_OF = Phrase("{run}: {sentence}.", "{run}：{sentence}。")
NO_SINGLE = Phrase("no answers to single-answer questions", "没有对单选题的回答")
NOT_SHOWN = Phrase("the options were not shown", "没有向模型显示选项")
TOO_FEW_WRONG = Phrase("too few wrong answers to tell", "错误答案太少，无法判断")
NO_BIAS = Phrase("no position bias found (p = {p}, {n} answers)", "未发现位置偏差（p = {p}，{n} 个回答）")
NO_BIAS_SMALL = Phrase(
    "no position bias found (p = {p}, {n} answers); the unevenness that there is moves few answers",
    "未发现位置偏差（p = {p}，{n} 个回答）；虽有不均，但影响的回答很少",
)
BIASED_TOWARDS, BIASED_AGAINST = (
    Phrase("biased towards {place}", "偏向 {place}"),
    Phrase("biased against {place}", "回避 {place}"),
)
BIASED = Phrase(
    "predicts {place} in {predicted} of {n} answers; right in {right}; {expected} would be expected with its mistakes spread "
    "evenly: {verdict} ({p})",
    "{n} 个回答中有 {predicted} 选了 {place}；该处正确的占 {right}；错误均匀分布时应为 {expected}：{verdict}（{p}）",
)
LETTER, FROM_END = Phrase("letter", "字母"), Phrase("place from the end", "从末尾数的位置")
TESTED = Phrase("{name} ({test})", "{name}（{test}）")
CHI_SQUARE = Phrase("chi-square {value}, {df} df, p {p}", "卡方 {value}，自由度 {df}，p {p}")
SHOWN, PREDICTED, RIGHT = Phrase("shown", "出现次数"), Phrase("predicted", "选择"), Phrase("right", "正确")
EXPECTED, RECALL = Phrase("expected", "期望"), Phrase("recall", "召回率")
CONFUSION = Phrase("Confusion by letter", "按字母的混淆矩阵")
CONFUSION_NOTE = Phrase(
    "Single-answer questions; rows: the right letter, columns: the predicted one, as shown, in all rotations.",
    "只统计单选题；行为正确字母，列为模型所选字母，均按显示的顺序，含所有轮换。",
)
CONFUSION_FIGURE = Phrase(
    "share of each right letter's questions by predicted letter", "各正确字母的题目中，模型所选字母的比例"
)

# Readings.
READINGS_OF = Phrase("Readings of {model}", "{model} 的各种读法")
READINGS_NOTE = Phrase(
    "Likelihood compares the probabilities of the answers; reply reads a short written reply; reasoning reads what is written "
    "after free reasoning, never the reasoning. Asked once more: with the answers to a second question in the place of the "
    "replies from which no letter could be read.",
    "似然比较各答案的概率；简短回复读取模型写出的短答；推理后回复只读取自由推理之后写出的答案，从不读推理本身。"
    "再问一次后：读不出字母的回复改用第二次提问的答案。",
)
SHARE_HEAD = Phrase("share", "比例")
SAME_CHOSEN = Phrase("same options chosen", "选择相同")
AND = Phrase("{first} and {second}", "{first} 与 {second}")
EQUAL, BOTH_LETTERS = Phrase("equal", "相同题数"), Phrase("n, both with letters", "n（两者均读出字母）")
SPREAD = Phrase("Spread of the accuracies: {points} points.", "各准确率相差 {points} 个百分点。")
APART = Phrase(
    "The intervals of {first} and {second} do not meet: how the model is asked decides its figure.",
    "{first} 与 {second} 的区间不相交：提问方式决定了数字。",
)

# Pictures.
ACCURACY_AXIS = Phrase("accuracy, % (n = {n})", "准确率，%（n = {n}）")
SUBJECTS_AXIS = Phrase("accuracy, %", "准确率，%")
FIRST_SUBJECTS = Phrase("accuracy, % (first {n} of {of} subjects)", "准确率，%（{of} 个学科中的前 {n} 个）")
FIRST_RUNS = Phrase("first {n} of {of} runs", "{of} 次运行中的前 {n} 次")

# The questions to browse: what report.html.j2 and report.js say.
PAGE = {
    "title": TITLE,
    "page": Phrase(", page {number}", "（第 {number} 页）"),
    "heading": Phrase("Wrong and unparsed questions", "答错和未解析的题目"),
    "shown": Phrase(
        "Questions {first} to {last} of {total} that at least one run did not answer rightly. Letters are the questions' own; "
        "the replies are shown as the model wrote them.",
        "至少一次运行未答对的 {total} 题中的第 {first} 至 {last} 题。字母按原题；回复按模型所写原样显示。",
    ),
    "all_right": Phrase("Every run answered every question rightly.", "每次运行都答对了所有题目。"),
    "pages": Phrase("pages", "页码"),
    "run": RUN,
    "any_run": Phrase("any run", "任一运行"),
    "subject": SUBJECT,
    "all_subjects": Phrase("all subjects", "全部学科"),
    "state": Phrase("state", "状态"),
    "wrong_or_unparsed": Phrase("wrong or unparsed", "答错或未解析"),
    "differ": Phrase("right in another run", "另一运行答对"),
    "text": Phrase("text", "文字"),
    "r": Phrase("right", "答对"),
    "w": Phrase("wrong", "答错"),
    "u": UNPARSED,
    "chose": Phrase(", chose", "，选了"),
    "tie": Phrase(", no single best answer", "，最优答案并列"),
    "empty": Phrase("(empty reply)", "（空回复）"),
    "right_answer": Phrase("Right:", "正确答案："),
    "again": Phrase("asked once more:", "再问一次："),
    "counted": Phrase("{count} of {all} on this page", "本页 {all} 题中的 {count} 题"),
}
SHOWN_AS = Phrase("shown as {letters}", "显示为 {letters}")
ROTATIONS = Phrase("rotations {letters}", "各轮换 {letters}")


def accuracy_text(share: Mapping) -> Text:
    """An accuracy with its interval."""
    return SHARE(share=percent(share["accuracy"]), ends=interval(share["interval_low"], share["interval_high"]))


def finished_text(row: Mapping) -> Text:
    """The accuracy of a run whose unread replies were asked once more, and how many they are; a dash for another run."""
    found = row.get("finished")
    return FINISHED(share=accuracy_text(found), n=found["asked"], of=of_prompts(row)) if found else NOTHING


def of_prompts(row: Mapping) -> Text:
    """Behind a count of outputs beside counts of questions: of how many, where each was asked in all rotations."""
    return OF_PROMPTS(n=row["circular"]["rotations"]) if "circular" in row else Text("", "")
