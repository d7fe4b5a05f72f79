"""How personal data is written: the patterns that `personal.py` tries, all but `MAYBE` read in plain text."""

import re

# One character to one character: a place in the plain text is the same place in the text.
_SPACES = "\t\u00a0\u3000\u202f\u2060\ufeff" + "".join(map(chr, [*range(0x2000, 0x2010), *range(0x202A, 0x202F)]))
_DASHES = "‐‑‒–—―−﹣－ー"
_WIDE = "".join(map(chr, [*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B)])) + "＠＋．＿（）／＝＃"
PLAIN = {ord(c): " " for c in _SPACES} | {ord(c): "-" for c in _DASHES} | {ord(c): chr(ord(c) - 0xFEE0) for c in _WIDE}
NUMERALS = str.maketrans("〇零一幺二三四五六七八九壹贰叁肆伍陆柒捌玖", "001123456789123456789", " -")
_NUMERAL = "[〇零一幺二三四五六七八九壹贰叁肆伍陆柒捌玖]"

# Most texts fail this at once, at the speed of a scan for its leading class. It passes whatever a pattern below can take.
# The frequent characters come first.
MAYBE = re.compile(
    rf"""[0-9０-９一幺壹.．:aA@＠vVwWqQＶｖＷｗＱｑ微薇威徽扣叩企球秋](?:
    (?<=[0-9０-９])(?:(?:[-\s.()（）．\[\]【】{_SPACES}{_DASHES}]{{0,4}}[0-9０-９]){{9}}
      |(?<=[话話机機线線真系繫絡电電打拨撥式码碼号號lLeExXbBrRhHjJ.:：=＝\#＃、,，|/／>(（\[【“「\s{_SPACES}{_DASHES}是为-].)(?<=[2-8２-８])[0-9０-９]{{2,3}}
       [-\s{_SPACES}{_DASHES}]?[0-9０-９]{{4}})
    |(?<=[一幺壹])(?:[-\s{_SPACES}{_DASHES}]?{_NUMERAL}){{10}}
    |(?<=[.．])[A-Za-zＡ-Ｚａ-ｚ]{{2,10}}[:/?／]|(?<=:)//|(?<=[(（\[【][aA])[tT]|(?<=[@＠ＶｖＷｗＱｑ])
    |(?<=[微薇威徽])[\s{_SPACES}]?信|(?<=[加个我+＋➕][微薇威])
    |(?<=[vV])[xXｘＸ信]|(?<=[加个我+＋➕][vV])|(?<=[wW])(?:[xXｘＸ]|[eE](?:[iI]|\s?[cC]))|(?<=[qQ])[qQ\s号我:：]|(?<=[加我+＋➕\s][qQ])
    |(?<=扣)[扣:：;；0-9０-９\s{_SPACES}]|(?<=企)鹅|(?<=球)球|(?<=秋)秋|(?<=叩)叩
    )""",
    re.X,
)

# ---- Addresses

_ADDRESS = r"(?:[!#-;=?-~](?!,1[3-9][0-9]{9}))*[!#-;=?-~]"
FULL_URL = rf"(?<![a-z0-9])(?:[a-z][a-z0-9+.-]{{0,20}}://|www\.){_ADDRESS}"
_HOST = r"(?:[a-z0-9-]{1,40}\.){1,5}[a-z]{2,8}(?::[0-9]{1,5})?"
URL = rf"(?<![a-z0-9])(?P<it>(?:[a-z][a-z0-9+.-]{{0,20}}://|www\.|{_HOST}(?=[/?])){_ADDRESS})"
_DOMAIN = r"(?:[a-z0-9][a-z0-9-]{0,61}(?:\.|。(?=(?:com|cn|net|org|edu)(?![a-z])))){1,6}"
# The last label ends where the case changes: people write "163.comQQ12345".
_LAST_LABEL = (
    r"(?:(?:com|cn|net|org|edu|gov)(?-i:(?![a-z]))"
    r"|(?!png|jpe?g|gif|svg|webp|pdf)(?-i:[a-z]{2,10}|[A-Z]{2,10})(?![a-z0-9]))"
)
_LOCAL_PART = r"[a-z0-9](?:[a-z0-9._%+-]{0,62}[a-z0-9_+-])?"
EMAIL = rf"(?<![a-z0-9])(?=(?P<it>{_LOCAL_PART}(?: ?@ ?| ?[(\[【]at[)\]】] ?){_DOMAIN}{_LAST_LABEL}))"

# ---- Numbers with a check

ID_NUMBER = r"(?<![0-9])(?=(?P<it>[1-9](?:[ -]{0,2}[0-9]){16}[ -]{0,2}[0-9X])(?![0-9]))"
OLD_ID_NUMBER = r"(?<![0-9])(?=(?P<it>[1-9][0-9]{5}[ -]?[0-9]{6}[ -]?[0-9]{3})(?![0-9]))"
BANK_CARD = r"(?<![0-9])(?=(?P<it>[2-69](?:[ -]?[0-9]){15,18})(?![0-9]))"

# ---- Telephones

_COUNTRY = r"\((?:\+|00)86\)|(?:\+|00)86"
MOBILE = (
    rf"(?<![0-9])(?=(?P<it>(?:(?:{_COUNTRY}|86)[ -]{{0,2}}|0)?"
    r"(?:1(?:[ -]{0,3}[0-9]){10}|1[0-9]{2}\.[0-9]{4}\.[0-9]{4}))(?![0-9]))"
)
NUMERAL_MOBILE = rf"(?<!{_NUMERAL})(?=(?P<it>[一幺壹](?:[ -]?{_NUMERAL}){{10}})(?!{_NUMERAL}|[十百千万亿]))"
_CITY = r"(?:10|2[0-57-9])"
_AREA = (
    r"(?:3(?:1\d|35|49|5\d|7[0-79]|9[1-68])|4(?:1[1-9]|2[179]|3[1-9]|5[1-9]|6[4-9]|7\d|8[23])"
    r"|5(?:1\d|2[37]|3\d|4[36]|5\d|6[1-46]|7\d|80|9[1-9])|6(?:3[1-5]|6[0238]|9[12])"
    r"|7(?:01|1\d|2[248]|3\d|4[3-6]|5\d|6[023689]|7\d|9\d)|8(?:1[236-8]|2[5-7]|3\d|5\d|7\d|8[36-8]|9[1-8])"
    r"|9(?:0[1-3689]|1[1-79]|3\d|4[13]|5[1-5]|7\d|9\d))"
)
_DIALLED = r"(?:转|轉|分机号?|ext\.?|x)\s?(?:分机号?|至)?[:：]?\s?[0-9]{1,6}"
_EXTENSION = rf"(?:\s?(?:\({_DIALLED}\)|{_DIALLED})(?![0-9])|-[0-9]{{2,5}}(?![0-9-]))?"


def _with_code(area: str) -> str:
    abroad = rf"(?:{_COUNTRY}|86(?=[ -]))[ -]{{0,2}}(?:\(0?{area}\)|(?:\(0\)|0)?{area})"
    return rf"(?:{abroad}|[(\[【]0{area}[)\]】]|0{area})[ -]{{0,3}}"


_DATE = r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])[0-3][0-9](?![0-9])"
# More numbers behind the first; a date, a count or an amount is none.
_NO_PHONE_AFTER = r"(?![0-9./%‰-]|\s?(?:[亿万元个例分次]|拷贝|[mμ]?[gl](?![a-z])))"
_MORE = rf"(?:\s?(?:[/、,，;；]|或者?|和|及)\s?(?!{_DATE})[2-9][0-9]{{6,7}}{_NO_PHONE_AFTER})*"
LANDLINE = (
    rf"(?<![0-9])(?=(?P<it>(?:{_with_code(_CITY)}[2-9][0-9]{{3}}|{_with_code(_AREA)}[2-9][0-9]{{2,3}})[ -]?[0-9]{{4}}(?![0-9])"
    rf"{_MORE}{_EXTENSION}))"
)
LOCAL_LANDLINE = (
    rf"(?<![0-9])(?=(?P<it>(?:0[2-8][ -])?[2-8][0-9]{{2,3}}[ -]?[0-9]{{4}}(?![0-9])(?![ .-][0-9]){_MORE}{_EXTENSION}))"
)

# ---- WeChat and QQ: a label, what joins, the id; or the id and whose it is

_WECHAT_LABEL = (
    r"[微薇威徽]\s?信|(?<![a-z0-9.@_])(?:we\s?chat|weixin|[vw]x|v信)"
    r"|(?<=[加个我+➕])(?:[微薇威]|v(?![a-z]))|(?<=加)v(?=[a-z_]*[0-9]{4})"
)
_WECHAT_NAME = r"[a-z][a-z0-9_-]{4,18}[a-z0-9_](?![a-z0-9_])(?![.@][a-z0-9])"
_WECHAT_NUMBER = r"(?:\+?86[ -]?)?1[3-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4}(?![0-9])|[1-9][0-9]{4,10}(?![0-9])"
_JOIN = r"[账帐][户号]|号码?|同号|同步|也是|就是|都是|是|为|搜索?|[\s:：;；=~,，、.→>|/“「【(\[➕+-]"
WECHAT = (
    rf"(?=(?P<label>{_WECHAT_LABEL})(?P<join>(?:{_JOIN}|id(?![a-z0-9_])|联系|加我?|通用|叫|找我?|[详说]?[聊谈说]|吧){{0,6}})"
    rf"(?P<it>{_WECHAT_NUMBER}|{_WECHAT_NAME}))"
)
WECHAT_INNER_ID = r"(?<![a-z0-9_])(?=(?P<it>wxid_[a-z0-9]{8,20})(?![a-z0-9_]))"
_QQ_LABEL = (
    r"(?<![a-z0-9.@_])(?:q\s?q|q\s?(?:[号我]|(?=[:：;；])))|(?:(?<=[加+➕])|(?<=加我))\s?q(?![a-z])"
    r"|扣\s?扣|(?<!折)扣(?=[:：;；])|企鹅号?|球球|叩叩|秋秋"
    # Money is taken off (扣) too, and counted.
    r"|(?:加(?:[我你您他她]的?)?|或者?|和|、)扣(?=\s?[1-9][0-9]{6,10}(?![0-9]|\s?(?:[元分点块次件]|积分)))"
)
QQ = (
    rf"(?=(?:{_QQ_LABEL})(?:{_JOIN}|群号?|邮箱|微信|[vw]x|v信|[)和及与加]){{0,6}}"
    r"(?P<it>[1-9][0-9]{2,4}(?:[ -][0-9]{3,5}){1,2}(?![0-9])|[1-9][0-9]{4,10}(?![0-9]))(?!-[0-9]))"
)
_OWNER = r"\s?(?:[,，]?\s?(?:这个?|那个?)?[是为](?:我|本人|他|她|家属|孩子)?的?|\()\s?"
_ENDS = r"号?码?(?:[)\s，。,.!！、；;]|\Z))"
WECHAT_AFTERWARDS = rf"(?<![a-z0-9_.@+-])(?=(?P<it>{_WECHAT_NAME}|[1-9][0-9]{{4,10}}){_OWNER}(?:微信|vx|wx|v信){_ENDS}"
QQ_AFTERWARDS = rf"(?<![a-z0-9_.@+-])(?=(?P<it>[1-9][0-9]{{4,10}}){_OWNER}(?:qq|扣扣){_ENDS}"
