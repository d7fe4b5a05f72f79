"""Questions that come with a picture, which no text can answer: by their columns and by the words that point at it."""

import re
from collections.abc import Iterable
from reprlib import repr as shortened

_PICTURES = (
    "qimage",
    "image",
    "images",
    "img",
    "imgs",
    "imagepath",
    "imagepaths",
    "imagefile",
    "imagefiles",
    "imageurl",
    "imageurls",
    "photo",
    "photos",
    "picture",
    "figure",
    "图片",
    "图片路径",
    "圖片",
    "圖片路徑",
    "配图",
    "插图",
)
# No question is longer.
_LONGEST = 50_000
# True where there is a picture, and where there is none.
_WITH, _WITHOUT = ("hasimage", "hasimages", "hasfigure", "haspicture", "是否有图"), ("textonly",)
_NONE = ("", "0", "-", "无", "無", "否", "没有", "none", "nan", "null", "no", "false", "n/a", "[]", "{}")
_MARKUP = re.compile(r"<\s*(?:img|image)\b|!\[[^\]]*\]\(|\.(?:jpe?g|png|gif|bmp|svg|webp)\b|\\includegraphics\b", re.IGNORECASE)
# Words that point at a picture the text does not hold. 图 also begins words such as 图形 (figure, shape) and 图案 (pattern).
_PICTURE = re.compile(
    r"见图(?![形案谱书像])|(?:如|附|题|下|右|左)图(?![形案谱书像])|图中所示"
    # 心电图如下, but no 心电图如下：窦性心律 (what it shows is told).
    r"|(?:[电谱]图|[平胸]片|线片|照片|切片|影像|图像|图片)(?:资料)?如下(?!\s*[：:])"
    r"|[(（]\s*[见如附题]?图\s*+[0-9一二三四五六]{0,3}[a-z]?\s*+[)）]|箭头(?:所|处)?[指示标]"
    r"|\b(?:fig(?:ure)?|image)\.?\s*\(?(?:[0-9]{1,2}[a-h]?|(?-i:[A-H]))\b"
    r"|\bfig(?:ure)?s\s*\(?(?-i:[A-H])\b|\bimages\s*\(?(?-i:[A-H])\b"
    r"|[(（]\s*(?:see|refer to) (?:the )?(?:\w+ )?(?:image|picture|photograph|photo|fig(?:ure)?|diagram)s?\b"
    r"|\bfigure (?:was |is )?not (?:provided|shown|given)\b|\bvideo.based question\b"
    r"|[(（]arrows?[)）]|\barrows? (?:points?|indicates?|shows?|marks?)\b"
    r"|\b(?:the|white|black|red|blue|green|yellow) arrows?\b(?! sign)"
    r"|\b(?:marked|indicated|labell?ed|pointed)\b.{0,30}\barrows?\b"
    r"|\b(?:image|picture|photograph|photo|figure|diagram|x-ray) (?:is )?(?:shown|given|provided|below|above)\b"
    r"|\b(?:shown|given|depicted|marked|seen) (?:below )?in the (?:\w+ )?(?:image|picture|photograph|photo|figure|diagram)\b"
    r"|\bshown in fig(?:ure)?\b"
    r"|\bshown (?:in|on) (?:the )?(?:radiograph|x.?ray|ultrasound|c?e?ct|mri|e[ck]g|scan|slide|colou?r plate)"
    r"(?: below| above| here)?\s*[?.:]"
    r"|\bshown (?:in|on) (?:the )?(?:radiograph|x.?ray|colou?r plate)(?: below| above| here| is\b)"
    r"|\bshown in the (?:exhibit|accompanying)|\bfindings in the photograph\b|, as shown\."
    r"|\b(?:photo\w*|\w*micrograph|radiograph|x.?ray|cxr|smear|scan|c?e?ct|mri|ecg|ekg|x - ray|graph|microscopy|"
    r"angiogra\w*|mammogra\w*|audiogram|electrocardiogram|ultrasound|ultrasonography"
    r"|cardiotocograph|histolog\w*|histopatholog\w*|image|diagram|pedigree chart)\b[^.?]{0,90}\bshown(?: below| here)?(?:\.|$)"
    r"|\bidentify the (?:image|picture|photograph|photo|figure|diagram)\b",
    re.IGNORECASE,
)


class NeedsImage(ValueError):
    """A question that cannot be answered from its text."""


def needs_picture(question: object) -> bool:
    """Whether a question is a text whose words point at a picture."""
    return isinstance(question, str) and (_MARKUP.search(question) or _PICTURE.search(question[:_LONGEST])) is not None


def check_columns(row: dict, names: dict[str, str]) -> None:
    """Check that no column has a picture, or says that there is one; `names` has the columns by their plain names.

    Raises:
        NeedsImage: one does.
    """
    for name in (name for name in (*_PICTURES, *_WITH, *_WITHOUT) if name in names):
        value = row[names[name]]
        said = str(value).strip().lower() in _NONE or value in (None, [], {})
        if name in _PICTURES and not said:
            raise NeedsImage(f"the question comes with a picture, {shortened(value)}")
        if (name in _WITH and not said and value is not None) or (name in _WITHOUT and str(value).lower() in ("false", "0")):
            raise NeedsImage(f"the question comes with a picture, as {names[name]} says")


def check_texts(question: str, options: Iterable[object]) -> None:
    """Check that no words of the question point at a picture, and that none stands in it or in the options.

    Raises:
        NeedsImage: one does.
    """
    if match := _MARKUP.search("\n".join([question, *(text for text in options if isinstance(text, str))])):
        raise NeedsImage(f"the question comes with a picture, {shortened(match[0])}")
    if match := _PICTURE.search(question[:_LONGEST]):
        raise NeedsImage(f"the question points at a picture, {shortened(match[0])}")
