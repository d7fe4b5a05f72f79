"""Judges of what the patterns of `patterns` match: checksums, labels, units and neighbours."""

import re
from datetime import date

from medllm_hf.data.screening.pii.patterns import NUMERALS

# ---- What the words, units and neighbours around a number say

_NO = r"(?:[号號][码碼]?)?(?:\s?(?:no|number)\b\.?)?"
_PHONE = (
    r"(?:手[机機]|电话|電話|[联聯][系繫絡络](?:方式)?|座[机機]|[总總][机機]|固[话話]|热线|熱線|传真|傳真|致[电電]|拨打|撥打|[来來][电電]"
    r"|[请請][打拨撥]|(?<=[我他她的新旧])号码?"
    r"|(?<![a-z])(?:telephone|tel|phone|mobile|mob|cell|fax|dh|sj))" + _NO
)
_CARD = (
    r"(?:银行卡|储蓄卡|信用卡|借记卡|工资卡|[工农中建交招邮]行卡?|(?<![诊疗保康员检历病磁值饭物通])卡号|[账帐][户号]|收款|打款"
    r"|(?<![a-z])card)(?:卡号|[账帐]号)?" + _NO
)
_IDENTITY = r"(?:身份[证證]?(?:编号)?|[证證]件|(?<![a-z])(?:id\s?card|id|sfz))" + _NO
_LABELS = {
    kind: re.compile(words + r"(?:[\s:：=#、,，|/>(\[【“「-]|[是为為]){0,6}\Z", re.I)
    for kind, words in {"mobile": _PHONE, "landline": _PHONE, "bank_card": _CARD, "id_number": _IDENTITY}.items()
}
_ELSE_BEFORE = re.compile(
    r"""(?:(?:
    (?:订单|运单|单号|编号|编码|代码|条码|条形码|序列号|序号|批号|批次|流水号?|验证码|校验码|追[溯踪]码|监管码|货号|型号|票号|文号
    |案号|专利号|(?:注册|备案|许可|执业|资格|合格)证|证书|登记号|受理号|学号|工号|床号|房号|户号|保单|病[历案]|医嘱|合同号|凭证号?
    |参考号|档号|发票
    |(?:住院|门诊|就诊|诊疗|急诊|体检|检[查验]|化验|样本|标本|病理|影像|放射|超声|心电|处方|预约|排队|参保|医保|社保|健康|会员|档案
      |报告|申请|病人|患者|受试者|入组|试剂|产品|药品|器械|挂号|快递|物流|床位|蜡块|切?片|交易|设备|充值|购物|CT|MRI?|DR|PET)
      (?:卡|单|证|条|表|笺|本|申请)?(?:号码?|码|ID)
    |(?<![a-z])(?:order|tracking|invoice|serial|batch|lot|ref|reference|case|record|mrn|sn|s/n|pmid|pmcid|doi|isbn|issn|imei|ean|upc
      |gtin|iccid|sku|cas|nct|chictr|no|rs)(?:\s?(?:no|number|id|code))?\.?)
    (?:编?号码?|码|单号|ID)?(?:[\s:：=\#|>()\[\]【】“”「」-]|是|为){0,6}
    |[^\s0-9][ ]*[0-9]+\.|(?<![0-9])0\.|(?<![a-z])chr[0-9xy]{1,2}:|(?<![0-9])(?!1[3-9][0-9]{9}-)(?:[0-9]{2,6}|[0-9]{9,})-
    |(?<![a-z])(?!(?:tel|phone|mobile|mob)-)[a-z]+[0-9]*-
    |(?<![a-z0-9_])(?!(?:telephone|tel|phone|mobile|mob|cell|call|fax|dh|sj|id|sfz|card)\Z)[a-z0-9_]+|[¥￥$€]\s?
    )\Z)""",
    re.X | re.I,
)
# 亿 with no unit begins the name of a firm (亿安诊所).
_ELSE_AFTER = re.compile(
    r"""\.[0-9]|-(?!1[3-9][0-9]{9}|0[0-9]{2,3}-?[0-9]{7})[0-9]|(?!qq|vx|wx|wechat|weixin|v信|tel|e?-?mail)[a-z_]
    |\s?(?:[mkunμ]?g|[mduμ]?l|iu|u|[mkμ]?mol|[mckn]?m|k?pa|mmhg|bpm|hz|copies|cfu|pg|meq|cells?|[kmg]?bp?)(?![a-z])
    |\s?(?:[%‰℃°×±]|[*^]\s?[0-9])|/\s?(?:[mdμu]?l|hp|k?g|d|h|日|天|次|升)(?![a-z])
    |\s?[百千]?万?(?:国际单位|单位|元(?!旦)|拷贝|步|毫升|[毫微]克|个(?!人|微|号)|份(?!证)|例|人[次口])
    |\s?[亿兆](?:[^\u3400-\u9fff]|\Z|[元美港人个份次吨株条例户万只支多余活菌]|拷贝|单位|国际|以上|左右)
    |号(?:订单|病历|样本|标本|处方|快递|运单)
    |[(\s]*这?[是为]?(?:我的?|本次|这次|您的?|你的?)?(?:订单|运单|病历|住院|门诊|样本|标本|快递单)(?:编?号|单)""",
    re.X | re.I,
)


def _head(match: re.Match) -> str:
    return match.string[max(0, match.start("it") - 24) : match.start("it")]


def _labelled(kind: str, match: re.Match) -> bool:
    return bool(_LABELS[kind].search(_head(match)))


def _end_if_free(kind: str, match: re.Match, end: int) -> int:
    """`end` if the digits are labelled as `kind` or nothing around them says that they are something else, or 0."""
    if _labelled(kind, match) or not (_ELSE_BEFORE.search(_head(match)) or _ELSE_AFTER.match(match.string, end)):
        return end
    return 0


def whole(match: re.Match) -> int:
    """The end of a match that needs no judge."""
    return match.end("it")


# ---- Addresses

_CREDENTIALS = re.compile(r"[a-z][a-z0-9+.-]*://[^/@\s:]+:[^/@\s]+@", re.I)
_PARAMETER = re.compile(r"[?&#;/]([\w.-]{1,40})=([^&#;]*)")
_SECRET = re.compile(
    r"(?:token|secret|passw(?:or)?d|pwd|pass|signature|jwt|jsessionid|phpsessid|openid|unionid|credential|auth[_-]?code"
    r"|(?:api|app|access|session|private)[_-]?key(?:[_-]?id)?)\Z",
    re.I,
)
_SECRET_IF_MIXED = re.compile(r"(?:sign|sig|session|session_?id|sid|ticket|auth|authorization)\Z", re.I)
_MIXED = re.compile(r"(?=[^A-Za-z]*[A-Za-z])(?=(?:[^0-9]*[0-9]){2}).{6}")
_SECRET_IF_RANDOM = re.compile(r"(?:key|code|state|hash|share|k|s|t)\Z", re.I)
_SECRET_PATH = re.compile(
    r"/(?:token|key|session|reset|verify|confirm|activate|invite|share|sso|auth|login)/([\w-]{16,})", re.I
)
_WEB_TOKEN = re.compile(r"(?<![\w-])eyJ[\w-]{10,}\.[\w-]{10}")
_OWN = re.compile(r"(?:(?:user_?)?(?:phone|mobile|tel|mob|e?mail)\w{0,8}|id_?card|sfz|bank_?card|qq|wx|weixin|wechat)\Z", re.I)
_OWN_VALUE = re.compile(r"[0-9]{5}|[\w.]@[\w-]+\.|%40")
_NO_VALUES = {"null", "none", "true", "false", "undefined"}


def _is_random(value: str) -> bool:
    """Whether one word of the value mixes letters and digits as no word and no code of medicine does."""
    for word in re.findall(r"[A-Za-z0-9]{8,}", re.sub(r"%[0-9A-Fa-f]{2}", " ", value)):
        digits, changes = len(re.findall("[0-9]", word)), len(re.findall(r"[0-9](?=[A-Za-z])|[A-Za-z](?=[0-9])", word))
        if digits >= 3 and (changes >= 3 or (len(word) >= 12 and 4 <= digits <= len(word) - 4)):
            return True
    return False


def _is_secret(name: str, value: str) -> bool:
    if _SECRET.search(name):
        return len(value) >= 4 and value.lower() not in _NO_VALUES
    if _OWN.match(name):
        return bool(_OWN_VALUE.search(value))
    if _SECRET_IF_MIXED.match(name):
        return bool(_MIXED.match(value))
    return bool(_SECRET_IF_RANDOM.match(name)) and _is_random(value)


def url(match: re.Match) -> int:
    """The end of an address that lets its reader in (by a password, session, token or signature) or names a person; or 0."""
    address = match["it"].rstrip(".,;:!?)]}'")
    opens = (
        _CREDENTIALS.match(address)
        or _WEB_TOKEN.search(address)
        or any(_is_random(word) for word in _SECRET_PATH.findall(address))
        or any(_is_secret(name, value) for name, value in _PARAMETER.findall(address))
    )
    return match.start("it") + len(address) if opens else 0


# ---- Numbers with a check

# A number under this label is one, even with a slip in it.
_SAID_IDENTITY = re.compile(
    r"(?:身份[证證]|[证證]件[号號]|(?<![a-z])(?:sfz|id\s?card))(?:编?[号號])?[码碼]?(?:[\s:：=#、,，|>(\[【“「-]|[是为為]){0,6}\Z",
    re.I,
)
_PROVINCES = re.compile("1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]|91")


def id_number(match: re.Match) -> int:
    """The end of an identity number, or 0: province, day of birth and, in the form of 18, the check character.

    Of 18 characters that the text calls an identity number, none of these is asked.

    Source: GB 11643 (the check is ISO 7064's MOD 11-2).
    """
    digits = re.sub("[ -]", "", match["it"]).upper()
    if len(digits) == 18 and _SAID_IDENTITY.search(_head(match)):
        return match.end("it")
    born = digits[6:14] if len(digits) == 18 else "19" + digits[6:12]
    try:
        date(int(born[:4]), int(born[4:6]), int(born[6:]))
    except ValueError:
        return 0
    if not _PROVINCES.match(digits) or born[:2] not in ("19", "20"):
        return 0
    if len(digits) == 18:
        rest = sum(int(digit) * pow(2, 17 - i, 11) for i, digit in enumerate(digits[:17])) % 11
        if digits[17] != "10X98765432"[rest]:
            return 0
    return _end_if_free("id_number", match, match.end("it"))


_UNIONPAY, _OTHER_ISSUERS = re.compile("6[02]"), re.compile("4|5[1-5]|6[59]|35|9558")


def bank_card(match: re.Match) -> int:
    """The end of the longest beginning that is a card: 16 to 19 digits, grouped as people do, that pass Luhn's check; or 0.

    Source: ISO/IEC 7812-1.
    """
    text, start, labelled = match.string, match.start("it"), _labelled("bank_card", match)
    for end in range(match.end("it"), start + 15, -1):
        groups = re.findall("[0-9]+", text[start:end])
        digits = "".join(groups)
        cuts_a_group = not text[end - 1].isdigit() or text[end : end + 1].isdigit()
        usual = {*map(len, groups[:-1])} in (set(), {4}) or (len(groups), len(groups[0])) == (2, 6)
        issued = labelled or (usual and (_UNIONPAY.match(digits) or (len(digits) in (16, 19) and _OTHER_ISSUERS.match(digits))))
        if len(digits) < 16 or cuts_a_group or not issued:
            continue
        doubled = [int(digit) * (1 + i % 2) for i, digit in enumerate(reversed(digits))]
        if sum(n - 9 * (n > 9) for n in doubled) % 10 == 0:
            return _end_if_free("bank_card", match, end)
    return 0


# ---- Telephones

_MOBILE = re.compile(r"(?:0086|86|0)?1(?:3[0-9]|4[5-9]|5[0-35-9]|6[2567]|7[0-8]|8[0-9]|9[0-35-9])[0-9]{8}")
# How people group the digits. Any other grouping counts only beside a label or after +86: columns of lab values look the same.
_MOBILE_GROUPS = {(11,), (12,), (13,), (3, 4, 4), (4, 4, 4), (3, 8), (7, 4), (3, 3, 5), (3, 4, 2, 2)}
_DAY = re.compile(r"(?:19|20)[0-9]{2}[ -]?(?:0[1-9]|1[0-2])[ -]?(?:0[1-9]|[12][0-9]|3[01])")


def _is_mobile(written: str) -> bool:
    return bool(_MOBILE.fullmatch(re.sub("[^0-9]", "", written.translate(NUMERALS))))


def mobile(match: re.Match) -> int:
    """The end of a mainland mobile number, or 0."""
    written = match["it"]
    groups = tuple(map(len, re.findall("[0-9]+", written)))
    usual = not groups or (groups in _MOBILE_GROUPS and not (groups == (3, 8) and _DAY.fullmatch(written[-8:])))
    if not _is_mobile(written) or not (usual or re.match(r"\D|00|86", written) or _labelled("mobile", match)):
        return 0
    return _end_if_free("mobile", match, match.end("it"))


def landline(match: re.Match) -> int:
    """The end of a number with an area code, or 0."""
    return _end_if_free("landline", match, match.end("it"))


def local_landline(match: re.Match) -> int:
    """The end of a number without an area code, which only a label makes one; or 0."""
    return match.end("it") if _labelled("landline", match) and not _DAY.match(match["it"]) else 0


# ---- WeChat and QQ

_NAMED = re.compile(r"号|id|[:：=→]|是|为|叫|搜|加", re.I)
_SOMEBODY_S = re.compile(r"[加我你您他她的搜]\s?\Z")
_ALSO_PHONE = re.compile(r"(?:手机|电话|方式|tel|phone)号?码?\s?[/、和&及+同与,，(]?\s?\Z", re.I)
# Words that follow "微信" in ordinary sentences and are as long as an id.
_WORD = re.compile(
    r"android|iphone|windows|harmony(?:os)?|wechat|weixin|official|account|number|public|version|messages?|moments|payment|article"
    r"|facebook|twitter|instagram|whatsapp|telegram|qrcode|groups?",
    re.I,
)


# 10086, 12580, 95588, 116114: anybody's to call.
_SERVICE = re.compile(r"1[0-2][0-9]{3}|9[56][0-9]{3}|11[0-9]{4}")


def wechat(match: re.Match) -> int:
    """The end of what a WeChat label names, or 0."""
    name, end = match["it"], match.end("it")
    before = match.string[max(0, match.start("label") - 8) : match.start("label")]
    if not name[0].isalpha():
        is_phone = _is_mobile(name) and ("同" in match["join"] or _ALSO_PHONE.search(before))
        return 0 if is_phone or _SERVICE.fullmatch(name) or _ELSE_AFTER.match(match.string, end) else end
    named = _NAMED.search(match["join"]) or _SOMEBODY_S.search(before)
    # Without a word such as "号" it is no id if it is an English word or of capitals only, as CA19-9 is.
    if name.isalpha():
        chinese_label = not match["label"].isascii()
        return end if (named or (chinese_label and name.islower())) and not _WORD.fullmatch(name) else 0
    return end if named or name != name.upper() else 0


def qq(match: re.Match) -> int:
    """The end of what a QQ label names, or 0."""
    return 0 if _ELSE_AFTER.match(match.string, match.end("it")) else match.end("it")


def named_afterwards(match: re.Match) -> int:
    """The end of an id whose label follows it, or 0 for a mobile number that is WeChat too."""
    return 0 if _is_mobile(match["it"]) else match.end("it")
