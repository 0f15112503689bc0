"""What looks like a secret in a text: keys of the vendors, tokens, passwords, private keys, e-mail addresses.

A text that is JSON is looked into text by text, JSON inside JSON too, so it stays valid whatever is masked.
Repetitions before the telling character are bounded: a megabyte of `a` must not take quadratic time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from teamwright.tracing.messages import to_json

MASK = "[redacted]"

#: What must stand in the text (in lower case) for it to be tried at all, and what masks.
_Rule = tuple[tuple[str, ...], Callable[[str], str]]

_NAMES = (
    r"(?:api|access|account|private|subscription|signing|encryption|shared|master)[-_ ]?key|secret(?!ar)|"
    r"passw(?:or)?d|passphrase|pwd|(?:auth|access|refresh|session|security|bearer|id)[-_ ]?token"
)
_LIKE_A_KEY = r"(?=[^\s\"'\\]{0,64}\d)"  # words have no digits
#: Names of secrets are found by these, as a pattern with all of them takes a hundred times as long.
_WORD = re.compile("key|secret|passw|passphrase|pwd|token")
_BEFORE = {
    "key": "api access account private subscription signing encryption shared master",
    "token": "auth access refresh session security bearer id",
}
_ENDS = {
    word: tuple(name + mark for name in names.split() for mark in ("", "-", "_", " "))
    for word, names in _BEFORE.items()
}
#: From the word on: name = value, with and without quotes (or JSON's escaped ones), and in a sentence.
_VALUE = re.compile(
    r"(?i)(?:key|secret(?!ar)|passw(?:or)?d|passphrase|pwd|token(?!s))\w{0,32}+(?:[\\\"']{0,8}+\s{0,8}+[:=]\s{0,8}+(?:"
    r"\\{0,8}\"(?!\[redacted\])(?P<double>(?:[^\"\\\n]|\\{1,8}[^\"'\\]){4,512})|"
    r"\\{0,8}'(?!\[redacted\])(?P<single>[^\"'\\\n]{4,512})|"
    r"[\\\"']{0,8}(?!\[redacted\])(?P<bare>[^\s\"'\\,;&}\]]{4,}))|"
    rf"\s{{1,4}}(?:is|was)\s{{1,4}}[\"'`]?(?!\[redacted\])(?P<said>{_LIKE_A_KEY}[^\s\"'`\\]{{4,}}))"
)
# What keys of JSON are called whose values are secrets, and those of which numbers are, too.
_TELLING = re.compile(rf"(?i){_NAMES}|^(?:token|(?:proxy-)?authorization|(?:set-)?cookie)$")
_TELLING_NUMBER = re.compile(rf"(?i)(?:{_NAMES}|^token)$")

# Keys that can be told by how they begin; who gives them out stands behind.
_KEYS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("sk-", "sk_", "pk-", "pk_", "rk-", "rk_"), r"\bc?(?:sk|pk|rk)[-_][\w-]{16,}"),  # OpenAI, Anthropic, Stripe …
    (("akia", "asia"), r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),  # AWS
    (("absk", "bedrock-api-key-"), r"\b(?:ABSK|bedrock-api-key-)[A-Za-z0-9+/=]{40,}"),
    (("aiza", "aq."), r"\b(?:AIza|AQ\.)[\w-]{30,}"),  # Google
    (("ya29.", "gocspx-", "1//0"), r"\b(?:ya29\.[\w.-]{20,}|GOCSPX-[\w-]{20,}|1//0[\w-]{30,})"),
    (("gsk_", "hf_", "r8_", "fw_", "npm_"), r"\b(?:gsk|hf|r8|fw|npm)_[A-Za-z0-9]{20,}"),  # Groq, Hugging Face …
    (("xai-", "pplx-", "nvapi-", "tvly-", "pypi-"), r"\b(?:xai|pplx|nvapi|tvly|pypi)-[\w-]{20,}"),
    (("tgp_", "lsv2_", "dop_", "lin_", "ntn_"), r"\b(?:tgp_v1|lsv2_[ps][tk]|do[opr]_v1|lin_api|ntn)_[\w-]{20,}"),
    # GitHub, GitLab, Slack
    (("gh", "github_pat", "gl", "xox"), r"\b(?:gh[opsur]|github_pat|gl[a-z]{2,5}|xox[a-z])[-_][\w-]{16,}"),
    (("xapp-", "whsec_", "shp", "atatt"), r"\b(?:xapp-|whsec_|shp(?:at|ca|pa|ss)_|ATATT)[\w=-]{20,}"),
    (("sg.", "hvs.", "key-"), r"\b(?:SG\.[\w-]{16,}\.[\w-]{16,}|hvs\.[\w-]{20,}|key-[0-9a-f]{32})\b"),
    (("dapi", "age-secret"), r"\b(?:dapi[0-9a-f]{32}\b|AGE-SECRET-KEY-\w{20,})"),
    ((":aa",), r"\b\d{8,12}:AA[\w-]{30,}"),  # Telegram
    (("hooks.slack.com", "/webhooks/"), r"(?:hooks\.slack\.com/\w{1,20}|/api/webhooks)/[\w/-]{16,}"),
)


def _sub(pattern: str, mask: str, flags: int = 0) -> Callable[[str], str]:
    return partial(re.compile(pattern, flags).sub, mask)


def _named(text: str) -> str:
    """What has the name of a secret, masked."""
    lowered = _lower(text)
    parts: list[str] = []
    at = 0
    for word in _WORD.finditer(lowered):
        start = word.start()
        if start < at or (word[0] in _ENDS and not _whole_name(word[0], lowered, start)):
            continue
        found = _VALUE.match(text, start)
        if found is not None and found.lastgroup is not None:
            parts += text[at : found.start(found.lastgroup)], MASK
            at = found.end(found.lastgroup)
    return "".join([*parts, text[at:]])


def _whole_name(word: str, lowered: str, start: int) -> bool:
    """Any `token` is one, but not every `key`."""
    return lowered.endswith(_ENDS[word], 0, start) or (word == "token" and not lowered[start - 1 : start].isalpha())


def _lower(text: str) -> str:
    """In lower case, of the same length."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else "".join(map(_one_lower, text))


def _one_lower(letter: str) -> str:
    return lowered if len(lowered := letter.lower()) == 1 else letter


_RULES: tuple[_Rule, ...] = (
    # Order matters: whole headers and URLs before the bare keys that may stand in them.
    (("bearer", "basic"), _sub(r"(?i)\b(bearer|basic)\s{1,8}[a-z0-9._~+/=-]{8,}", rf"\1 {MASK}")),
    (
        ("authorization",),
        _sub(
            r"(?i)\b(authorization[\\\"']{0,8}\s{0,8}[:=]\s{0,8}[\\\"']{0,8}(?:[a-z][a-z0-9-]{1,20}\s{1,8})?)"
            rf"(?!\[redacted\]|(?:bearer|basic)\s){_LIKE_A_KEY}[^\s\"'\\,;]{{8,}}",
            rf"\1{MASK}",
        ),
    ),
    (("cookie",), _sub(r"(?i)\b(cookie\s{0,8}:\s{0,8})[\w.-]{1,64}=[^\"\\\r\n]{4,}", rf"\1{MASK}")),
    (("eyj",), _sub(r"\beyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*", MASK)),  # JWT
    (("://",), _sub(r"(?i)\b(\w{1,20}://[^\s:/@\"]{0,256}):[^\s/\"]{1,256}@", rf"\1:{MASK}@")),
    (
        ("token=", "key=", "sig=", "signature=", "secret=", "passw", "pwd=", "credential="),
        _sub(
            r"(?i)([?&](?:[\w.-]{0,40}[-_.]|access|api|auth|id|refresh|session|client|subscription)?"
            r"(?:token|key|sig|signature|secret|password|passwd|pwd|credential)=)(?!\[redacted\])[^\s&#\"'\\]{4,}",
            rf"\1{MASK}",
        ),
    ),
    *((needles, _sub(pattern, MASK)) for needles, pattern in _KEYS),
    (
        ("private key",),
        _sub(
            r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY(?: BLOCK)?-----.*?"
            r"(?:-----END [A-Z ]{0,32}PRIVATE KEY(?: BLOCK)?-----|$)",
            MASK,
            re.DOTALL,
        ),
    ),
    (("key", "secret", "passw", "passphrase", "pwd", "token"), _named),
    # the last one is about people, not about keys: see `without_keys`
    (("@",), _sub(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}", MASK)),
)


def redact(text: str) -> str:
    """`text` with keys, tokens, passwords and e-mail addresses masked. JSON stays valid JSON."""
    return _masked(text, _RULES)


def without_keys(text: str) -> str:
    """`text` with keys, tokens and passwords masked, and people's addresses as they are."""
    return _masked(text, _RULES[:-1])


def _masked(text: str, rules: tuple[_Rule, ...]) -> str:
    lowered = text.lower()
    likely: list[_Rule] = []
    for rule in rules:  # at each attribute of each span: a loop is three times as quick as `any` of a generator
        for needle in rule[0]:
            if needle in lowered:
                likely.append(rule)
                break
    if not likely:
        return text
    if text[:1] in ("{", "["):
        try:
            found = json.loads(text)
            masked = _inside(found, rules)
        except (ValueError, RecursionError):
            pass
        else:
            return text if masked == found else to_json(masked)
    for _, mask in likely:
        text = mask(text)
    return text


def _inside(value: Any, rules: tuple[_Rule, ...], name: str = "") -> Any:
    """What stands in JSON under `name`, masked; where the name says that it is a secret, as a whole."""
    if isinstance(value, str):
        masked = _masked(value, rules)
        return MASK if masked == value and len(value) >= 4 and value != MASK and _TELLING.search(name) else masked
    if isinstance(value, list):
        return [_inside(item, rules, name) for item in value]
    if isinstance(value, Mapping):
        return {_masked(key, rules): _inside(item, rules, key) for key, item in value.items()}
    if isinstance(value, int | float) and not isinstance(value, bool) and _TELLING_NUMBER.search(name):
        return MASK
    return value
