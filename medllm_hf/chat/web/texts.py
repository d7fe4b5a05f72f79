"""Every text of the page, in both languages."""

LANGUAGES = {"zh": "中文", "en": "English"}

# Key → Chinese, English. Names in braces are filled in.
_BOTH = {
    "disclaimer": (
        "模型的回答仅供参考，不能代替医生的诊断。病情紧急时请立即就医。",
        "The answers are no substitute for a doctor's diagnosis. In an emergency, go to a hospital at once.",
    ),
    "model": ("模型：{name}", "Model: {name}"),
    "new": ("新建对话", "New conversation"),
    "untitled": ("新对话", "New conversation"),
    "delete": ("删除", "Delete"),
    "beside": ("并排显示", "Show beside it"),
    "alone": ("不并排", "Nothing"),
    "import": ("导入对话（JSON）", "Import a conversation (JSON)"),
    "upload": ("选择文件", "Choose a file"),
    "kept": (
        "对话只保存在本标签页里，关闭后即消失。需要保留请先导出。",
        "Conversations are kept in this tab alone and are gone when it is closed. Export what you want to keep.",
    ),
    "user": ("提问", "Question"),
    "assistant": ("回答", "Answer"),
    "system": ("系统消息", "System message"),
    "system hint": ("留空则用模型自带的", "Empty: the model's own"),
    "ask": ("输入问题……", "Ask a question…"),
    "welcome": ("请在下方输入第一个问题。", "Ask your first question below."),
    "answering": ("正在阅读对话……", "Reading the conversation…"),
    "waiting": ("排队中，第 {place} 位", "Waiting, number {place} in line"),
    "stop": ("停止", "Stop"),
    "retry": ("重答", "Retry"),
    "edit": ("修改", "Edit"),
    "clear": ("清空", "Clear"),
    "edited": ("修改最后一个问题", "The last question, to be edited"),
    "send": ("发送", "Send"),
    "cancel": ("取消", "Cancel"),
    "settings": ("设置", "Settings"),
    "own": ("模型自带", "the model's own"),
    "do_sample": ("随机采样", "Sample at random"),
    "yes": ("是", "yes"),
    "no": ("否", "no"),
    "temperature": ("温度", "Temperature"),
    "top_p": ("top-p", "top-p"),
    "top_k": ("top-k（0 为全部）", "top-k (0: all)"),
    "repetition_penalty": ("重复惩罚", "Repetition penalty"),
    "max_new_tokens": ("回答的最大 token 数", "The most tokens of an answer"),
    "export": ("导出", "Export"),
    "export json": ("JSON（可再导入）", "JSON (can be imported)"),
    "export markdown": ("Markdown", "Markdown"),
    "export row": ("训练数据的一行（JSONL）", "Row of training data (JSONL)"),
    "error": ("出错了：{error}", "It failed: {error}"),
    "broken": ("程序内部错误，详情见服务器终端", "an error inside the program; the server's terminal says more"),
    "empty": ("（回答为空）", "(the answer is empty)"),
    "dropped": (
        "最早的 {count} 条消息超出模型的上下文，没有读入。",
        "The {count} oldest messages did not fit the model's context and were left out.",
    ),
    "ended turn": ("已停止：模型开始替您提问。", "Stopped: it began to write your next question."),
    "ended limit": ("已停止：达到回答的长度上限。", "Stopped at the limit of tokens for an answer."),
    "ended context": ("已停止：到达模型上下文的末尾。", "Stopped at the end of the model's context."),
    "ended stopped": ("已被您停止。", "Stopped by you."),
    "ended other": ("已停止：{reason}", "Stopped: {reason}"),
}
TEXTS = {language: {key: both[place] for key, both in _BOTH.items()} for place, language in enumerate(LANGUAGES)}


def language_of(locale: str | None) -> str:
    """The language, of those that the page has, for a browser's locale such as "zh-CN"."""
    return "zh" if (locale or "").lower().startswith("zh") else "en"
