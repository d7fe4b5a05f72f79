"""The Chinese of names that reports print as they stand in records: criteria, checks, settings, readings, styles."""

from collections.abc import Mapping

from medllm_hf.reporting.phrases import Text

# English, as `blocks.words` gives it, to Chinese. Names of values, such as a device, are the same in both.
TERMS: Mapping[str, str] = {
    # criteria and axes
    "proactivity": "主动性",
    "accuracy": "准确性",
    "helpfulness": "有用性",
    "linguistic quality": "语言质量",
    "red flags": "危险信号",
    "safe advice": "建议安全性",
    "referral": "转诊",
    "checklist": "清单得分",
    "overall": "总体",
    "inquiry": "问诊",
    "diagnosis": "诊断",
    "safety": "安全性",
    "communication": "沟通",
    "counted": "计数",
    "matched": "比对",
    "judged": "裁判评分",
    # checks of consultations
    "early end": "过早结束",
    "patient slips": "患者出戏",
    "doctor slips": "医生出戏",
    "patient empty": "患者空回复",
    "doctor empty": "医生空回复",
    "patient repeated": "患者重复",
    "doctor repeated": "医生重复",
    "cut": "被截断",
    "empty": "空回复",
    "end alone": "只有结束语",
    "speaks as doctor": "像医生说话",
    "copies": "照抄对方",
    "names diagnosis": "说出诊断",
    "not in case": "病例之外的内容",
    # who takes part, and how patients behave
    "doctor": "医生",
    "patient": "患者",
    "judge": "裁判",
    "plain": "普通",
    "terse": "话少",
    "anxious": "焦虑",
    "self-diagnosis": "自我诊断",
    "relative": "家属代诉",
    "disc": "DISC 规程",
    # readings
    "likelihood": "似然",
    "reply": "简短回复",
    "reasoning": "推理后回复",
    # outcomes
    "win": "胜",
    "tie": "平",
    "loss": "负",
    "inconsistent": "不一致",
    "several": "多选",
    "unparsed": "未解析",
    # why questions are left out
    "needs an image": "需要看图",
    "malformed": "格式有误",
    "also in the test split": "测试集中也有",
    # settings
    "mode": "读法",
    "score": "计分对象",
    "normalization": "长度归一",
    "shots": "示例数",
    "seed": "随机种子",
    "shuffle options": "打乱选项",
    "circular": "轮换选项",
    "chat template": "对话模板",
    "enable thinking": "开启思考",
    "extra body": "附加请求字段",
    "encoding": "文件编码",
    "reply prefix": "回复前缀",
    "prompt": "提示词",
    "finish": "再问方式",
    "max new tokens": "最多新词元",
    "reasoning tokens": "推理词元上限",
    "temperature": "温度",
    "batch tokens": "每批词元",
    "batch size": "每批题数",
    "device": "设备",
    "dtype": "精度",
    "quantization": "量化",
    "samples": "每段取样数",
    "failure limit": "未评分上限",
    "attempts": "最多尝试次数",
    "form": "回复格式",
    # values of settings
    "letter": "字母",
    "letters": "字母",
    "text": "文字",
    "none": "无",
    "lines": "逐行",
    # what is known of a judge
    "endpoint": "服务地址",
    "revision": "修订版",
    "source": "来源",
    "base": "基座",
    "weights": "权重",
    "files": "文件",
    "settings": "设置",
    "licence": "许可",
    # canaries of what patients make up
    "made-up": "编造的患者",
    "honest": "诚实的患者",
}


def value_text(value: object) -> Text:
    """The value of a setting as it is read: in Chinese where it is a word that has one."""
    return Text(str(value), TERMS.get(str(value), str(value)))


def term(name: str) -> Text:
    """The name of a criterion, check or setting as it is read; one that has no Chinese here stays as it is."""
    english = name.replace("_", " ").removesuffix(" sha256")
    return Text(english, TERMS.get(english, english))
