"""`medllm data build` with all screening on 470,000 generated dialogues, the size of DISC-Med-SFT, and on half as many.

    python benchmarks/data.py [--work DIR] [--rows N]

The dialogues are put together from sentences with exchangeable parts (seeded; about 450 characters, 1 to 6 rounds); some are
repeated, lightly edited, hold personal data or one of 10,000 held-out questions, or are broken. Each build is a process of its
own. Wall time is that of the whole command; peak memory is the highest sum, over the process and all its descendants, of
the resident set in /proc, looked at 20 times a second: pages that processes share count in each of them. The last lines say,
one a target: NAME value=… target=… met|missed. Exit 1 if any is missed. Needs 4 GB of disk.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROWS, QUESTIONS = 470_000, 10_000
TOOL = [sys.executable, "-m", "medllm_hf"]
# What the rows are, in thousandths.
KINDS = {"plain": 939, "exact": 10, "edited": 30, "personal": 18, "overlap": 1, "broken": 2}

# Verdict of the build, the kind that calls for it, and how many of them it must find at least: near-duplicates are estimated.
AT_LEAST = (
    *(("rejected", "broken", 1.0), ("overlap", "overlap", 1.0), ("masked", "personal", 1.0)),
    *(("exact duplicate", "exact", 1.0), ("near-duplicate", "edited", 0.99)),
)

# Exchangeable parts of the sentences.
WORDS = {
    mark: words.split()
    for mark, words in {
        "病": """
            高血压 糖尿病 冠心病 慢性胃炎 胃溃疡 支气管哮喘 肺炎 甲状腺结节 脂肪肝 胆囊炎 肾结石 尿路感染 偏头痛
            颈椎病 腰椎间盘突出 痛风 类风湿关节炎 湿疹 荨麻疹 银屑病 过敏性鼻炎 中耳炎 结膜炎 白内障 贫血 甲亢 甲减
            乳腺增生 子宫肌瘤 多囊卵巢综合征 前列腺炎 痔疮 肠易激综合征 溃疡性结肠炎 焦虑症 失眠 抑郁症 带状疱疹
            手足口病 幽门螺杆菌感染
        """,
        "症": """
            头痛 头晕 胸闷 心慌 气短 咳嗽 咳痰 发热 乏力 恶心 呕吐 腹痛 腹泻 便秘 反酸 腹胀 尿频 尿急 腰酸 关节肿痛
            皮疹 瘙痒 鼻塞 流涕 咽痛 耳鸣 视物模糊 手脚发麻 盗汗 口干 口苦 水肿 消瘦 食欲差 失眠多梦 心烦 月经不调
            下肢酸胀 牙龈出血 吞咽不适
        """,
        "药": """
            阿莫西林 头孢克肟 布洛芬 对乙酰氨基酚 奥美拉唑 雷贝拉唑 铝碳酸镁 蒙脱石散 二甲双胍 格列美脲 氨氯地平
            缬沙坦 美托洛尔 阿托伐他汀 阿司匹林 氯雷他定 西替利嗪 孟鲁司特 沙丁胺醇 布地奈德 左甲状腺素 甲巯咪唑
            别嘌醇 非布司他 甲钴胺 维生素B12 叶酸 琥珀酸亚铁 双歧杆菌制剂 莫沙必利 炉甘石洗剂 糠酸莫米松
        """,
        "查": """
            血常规 尿常规 肝功能 肾功能 空腹血糖 糖化血红蛋白 血脂 甲状腺功能 心电图 动态心电图 心脏彩超 胸部CT
            腹部彩超 胃镜 肠镜 碳13呼气试验 头颅核磁 颈椎核磁 骨密度 血尿酸 类风湿因子 过敏原检测 肺功能 眼底检查
            听力检查 性激素六项 前列腺彩超 大便潜血
        """,
        "时": """
            两天 三天 一周 半个月 一个月 三个月 半年 一年多 好几年 最近 昨天晚上 前天 上周 吃完饭后 早上起床后 夜里
            天气变冷以后 加班之后 生完孩子以后 感冒之后
        """,
        "人": """
            我 我妈妈 我爸爸 我爱人 我女儿 我儿子 我奶奶 我外公 我同事 我姐姐 我婆婆 我室友
        """,
        "事": """
            喝酒 熬夜 吃辣 久坐 抽烟 喝浓茶 吃海鲜 剧烈运动 着凉 生气 吃剩菜 吃得太快 憋尿 长时间看手机 搬重物
            饮食不规律
        """,
        "法": """
            清淡饮食 多喝温水 规律作息 适当散步 控制体重 记录血压 少吃多餐 抬高下肢 热敷患处 做拉伸运动 避免受凉
            保持心情平稳 每天晒晒太阳 低盐饮食 戒烟限酒 用温水泡脚
        """,
    }.items()
}
ASKED = """
{人}{时}开始{症}，还有点{症}，要紧吗？
医生您好，{人}查出{病}，一直在吃{药}，可是{症}没见好。
{时}{事}之后就{症}，是不是{病}又犯了？
做了{查}，说是可能有{病}，{人}很担心，接下来该怎么办？
{药}和{药}能一起吃吗？{人}有{病}。
{人}{症}{时}了，去药店买了{药}，吃了还是{症}。
请问{病}的人能不能{事}？
体检的{查}结果有点偏高，平时只是{症}，需要吃{药}吗？
{时}以来{症}得厉害，晚上还{症}，睡不好。
想问一下{病}多久要复查一次{查}？
{人}以前有{病}，现在又{症}，会不会是{药}的副作用？
好的，那{查}需要空腹吗？
不{事}的时候会好一点，一{事}就{症}。
没有{症}，就是{症}，大概{时}了。
{人}今年刚查出{病}，有什么要注意的？
谢谢医生，那{药}要吃多久？
怀孕了还能用{药}吗？{人}{症}好{时}了。
""".strip().splitlines()
ANSWERED = """
您好，根据您说的情况，{症}伴有{症}，首先要考虑{病}的可能。
建议先到医院做{查}和{查}，明确原因以后再决定怎么治疗。
在结果出来之前，可以先{法}，尽量不要{事}。
{药}一般在饭后服用，如果出现{症}，请马上停药并告诉医生。
{病}和{病}的表现有些相像，光凭{症}还分不清楚。
从您的描述看，这更像是{事}引起的{症}，与{病}关系不大。
如果{症}加重，或者出现{症}，请尽快去急诊。
平时注意{法}，坚持{法}，大多数人{时}会有好转。
有{病}的人用{药}要谨慎，最好先查一下{查}。
请问您有没有{症}？之前做过{查}吗？家里有没有人得过{病}？
目前不建议自己加用{药}，它和{药}合用可能引起{症}。
{病}需要长期管理，除了按时服用{药}，还要{法}。
复查的话，{查}每三个月一次就可以，情况稳定以后半年一次。
您不用太紧张，{查}轻度异常很常见，{事}也会有影响。
可以先用{药}缓解{症}，同时{法}，观察{时}。
孩子的用药和大人不一样，{药}要按体重计算，请带他到儿科看看。
老年人{症}要特别当心，{病}往往没有典型表现。
{症}的原因很多，常见的有{病}、{病}和{病}，需要一个一个排除。
饮食上少吃辛辣油腻，{法}，对{病}的恢复有帮助。
祝您早日康复，有变化随时联系。
这个药的主要作用是缓解{症}，对{病}本身没有治疗作用。
如果{查}正常，就可以暂时排除{病}。
{时}仍不见好转，再考虑换成{药}。
""".strip().splitlines()
STEMS = """
患者，{性}，{岁}岁，{症}{时}，加重伴{症}2天，查体见{症}，{查}示异常，最符合的判断是{病}还是其他，应选
关于{病}与{病}的鉴别要点，下列叙述有误的一项是
{岁}岁{性}患者因{症}就诊，既往有{病}病史，长期服用{药}，近期出现{症}，停用该药的理由是
对合并{病}的{病}患者，{药}的用法应调整为
{查}在{病}诊断中的价值体现在它对{症}的
某{性}，{岁}岁，误服{药}后{症}，抢救时宜先给予
下列各项中，能够同时导致{症}和{症}的疾病是{病}以外的
""".strip().splitlines()
PERSONAL_TEXTS = ("我的手机号是1{}，方便的话给我打电话。", "可以发到我邮箱 user{}@example.com 吗？", "加我微信 wxid_{} 聊吧。")


def sentence(rng: random.Random, pattern: str) -> str:
    """A sentence with each exchangeable part drawn anew."""
    pieces = pattern.split("{")
    text = pieces[0]
    for piece in pieces[1:]:
        mark, rest = piece.split("}", 1)
        text += str(rng.randint(18, 89)) if mark == "岁" else rng.choice("男女") if mark == "性" else rng.choice(WORDS[mark])
        text += rest
    return text


def conversation(rng: random.Random) -> list[dict]:
    """The turns of a dialogue of 1 to 6 rounds."""
    turns = []
    rounds = rng.choice((1, 1, 1, 2, 3, 3, 4, 4, 5, 6))
    for _ in range(rounds):
        asked = rng.sample(ASKED, rng.randint(1, 2))
        answered = rng.sample(ANSWERED, rng.randint(2, 5) if rounds > 2 else rng.randint(5, 12))
        for role, patterns in (("user", asked), ("assistant", answered)):
            turns.append({"role": role, "content": "".join([sentence(rng, pattern) for pattern in patterns])})
    return turns


def edited(rng: random.Random, text: str, edits: int) -> str:
    """`text` with some characters exchanged."""
    for _ in range(edits):
        place = rng.randrange(len(text))
        text = text[:place] + rng.choice("的了呢吧啊很") + text[place + 1 :]
    return text


def generate(rows: int, folder: Path) -> Counter[str]:
    """Writes dialogues.jsonl and questions.jsonl; returns how many rows of each kind there are."""
    rng = random.Random(rows)
    stems = [sentence(rng, rng.choice(STEMS)) for _ in range(QUESTIONS)]
    with (folder / "questions.jsonl").open("w", encoding="utf-8") as file:
        for i, stem in enumerate(stems):
            options = dict(zip("ABCD", rng.sample(WORDS["药"], 4), strict=True))
            row = {"id": str(i), "question": stem, "options": options, "answer": rng.choice("ABCD")}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    kinds = rng.choices(list(KINDS), list(KINDS.values()), k=rows)
    before = [conversation(rng) for _ in range(rows // 20)]
    with (folder / "dialogues.jsonl").open("w", encoding="utf-8") as file:
        for i, kind in enumerate(kinds):
            turns = before[i] if i < len(before) else planted(rng, kind, stems, before)
            row = {"_id": f"{i:07d}", "source": rng.choice(("meddial", "cmekg", "preference")), "conversation": turns}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return Counter(kinds[len(before) :])


def planted(rng: random.Random, kind: str, stems: list[str], before: list[list[dict]]) -> list[dict] | None:
    """The turns of one row of a kind."""
    if kind == "exact":
        return rng.choice(before)
    if kind == "edited":
        *turns, last = rng.choice(before)
        return [*turns, {**last, "content": edited(rng, last["content"], 3)}]
    turns = conversation(rng)
    if kind == "personal":
        turns[0]["content"] += rng.choice(PERSONAL_TEXTS).format(rng.randint(3_000_000_000, 3_999_999_999))
    elif kind == "overlap":
        turns[0]["content"] = edited(rng, rng.choice(stems), 1)
    elif kind == "broken":
        return rng.choice(([], turns[1:], [{"role": "user"}], None))
    return turns


def found(folder: Path) -> Counter[str]:
    """How many rows the build lists for each reason; those that it repairs are among the rejected."""
    rows = {}
    with (folder / "problems.jsonl").open(encoding="utf-8") as file:
        for line in file:
            problem = json.loads(line)
            rows[problem["verdict"], problem["line"]] = None
    # A broken row that begins with an answer and goes on is read from its first question on, and listed as repaired.
    return Counter("rejected" if verdict == "repaired" else verdict for verdict, _ in rows)


def resident(root: int) -> int:
    """Bytes of resident memory of a process and all its descendants."""
    parents, pages = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has just ended
            parents[int(entry)], pages[int(entry)] = int(stat[1]), int(stat[21])
    total = 0
    for process in pages:
        ancestor = process
        while ancestor not in (root, 0):
            ancestor = parents.get(ancestor, 0)
        total += pages[process] if ancestor == root else 0
    return total * os.sysconf("SC_PAGE_SIZE")


def measured(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak memory of the process tree in GB (10^9 bytes) of one finished command."""
    started, peak = time.monotonic(), 0
    process = subprocess.Popen(command)
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.05)
    if process.returncode:
        sys.exit(f"{' '.join(command[:5])} failed")
    return time.monotonic() - started, peak / 1e9


def main() -> int:
    """Builds half and all of the rows, and prints the targets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="folder for 4 GB of files (default: a temporary one)")
    parser.add_argument("--rows", type=int, default=ROWS)
    options = parser.parse_args()
    seconds, peaks = {}, {}
    for rows in (options.rows // 2, options.rows):
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            kinds = generate(rows, Path(folder))
            inputs = [f"{folder}/dialogues.jsonl", "--benchmarks", f"{folder}/questions.jsonl"]
            settings = ["--near-duplicates", "drop", "--license", "other", "--out", f"{folder}/built"]
            os.sync()
            seconds[rows], peaks[rows] = measured([*TOOL, "data", "build", *inputs, *settings])
            listed = found(Path(folder, "built"))
        print(f"planted {dict(kinds)}, listed {dict(listed)}")
        print(f"{rows} dialogues: {seconds[rows]:.1f} s, peak {peaks[rows]:.2f} GB", flush=True)
        if any(listed[verdict] < share * kinds[kind] for verdict, kind, share in AT_LEAST):
            sys.exit("the build did not find what was planted")
    print(f"{os.cpu_count()} cores")
    targets = [
        ("build_minutes", seconds[options.rows] / 60, 5.0),
        ("peak_gb", peaks[options.rows], 2.0),
        ("time_of_twice_the_rows", seconds[options.rows] / seconds[options.rows // 2], 2.2),
    ]
    for name, value, target in targets:
        print(f"{name} value={value:.2f} target={target:.2f} {'met' if value <= target else 'missed'}")
    return int(any(value > target for _, value, target in targets))


if __name__ == "__main__":
    sys.exit(main())
