"""Slack's signature: every odd form is refused, and none is a crash."""

import pytest

from sentinel.adapters.slack_signature import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign, verify
from sentinel.errors import Unauthenticated

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
NOW_S = 1_700_000_000
BODY = b"payload=%7B%22type%22%3A%22block_actions%22%7D&a=1"
TS = str(NOW_S)
GOOD = sign(SECRET, TS, BODY)


def _flip(text: str, at: int) -> str:
    return text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :]


def _check(
    timestamp: str | None, signature: str | None, body: bytes = BODY, secrets: tuple[str, ...] = (SECRET,)
) -> None:
    headers = {TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: signature}
    verify({name: value for name, value in headers.items() if value is not None}, body, secrets, NOW_S * 1000)


def test_the_example_of_slacks_documentation() -> None:
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    expected = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    assert sign(SECRET, "1531420618", body) == expected
    verify({TIMESTAMP_HEADER: "1531420618", SIGNATURE_HEADER: expected}, body, (SECRET,), 1531420618_000)


@pytest.mark.parametrize("age_s", [0, 1, 299, 300, -1, -30])
def test_within_the_window(age_s: int) -> None:
    timestamp = str(NOW_S - age_s)
    _check(timestamp, sign(SECRET, timestamp, BODY))


def test_either_secret_during_a_rotation() -> None:
    _check(TS, sign("old", TS, BODY), secrets=("new", "old"))
    _check(TS, sign("new", TS, BODY), secrets=("new", "old"))


@pytest.mark.parametrize("body", [b"", b"\xff\xfe not utf-8", b"\x00"], ids=["empty", "not utf-8", "nul"])
def test_any_bytes_may_be_signed(body: bytes) -> None:
    _check(TS, sign(SECRET, TS, body), body)


def _re_timed(timestamp: str) -> tuple[str, str]:
    """A timestamp of another form, truly signed: only its form or its age is wrong."""
    return timestamp, sign(SECRET, timestamp, BODY)


MUTANTS: dict[str, tuple[str | None, str | None, bytes, tuple[str, ...]]] = {
    **{f"bit {at} of the signature": (TS, _flip(GOOD, at), BODY, (SECRET,)) for at in range(3, 67, 4)},
    **{
        f"bit {at} of the body": (TS, GOOD, BODY[:at] + bytes([BODY[at] ^ 1]) + BODY[at + 1 :], (SECRET,))
        for at in range(0, 50, 5)
    },
    **{f"digit {at} of the timestamp": (_flip(TS, at), GOOD, BODY, (SECRET,)) for at in range(10)},
    **{
        f"timestamp {name}": (*_re_timed(timestamp), BODY, (SECRET,))
        for name, timestamp in {
            "301 s old": str(NOW_S - 301),
            "a day old": str(NOW_S - 86400),
            "31 s ahead": str(NOW_S + 31),
            "299 s ahead": str(NOW_S + 299),
            "empty": "",
            "zero": "0",
            "negative": f"-{TS}",
            "float": f"{TS}.0",
            "exponent": "1.7e9",
            "hex": hex(NOW_S),
            "underscored": "1_700_000_000",
            "milliseconds": f"{TS}000",
            "nine digits": "999999999",
            "plus": f"+{TS}",
            "leading space": f" {TS}",
            "trailing space": f"{TS} ",
            "trailing newline": f"{TS}\n",
            "a word": "now",
            "nan": "nan",
            "twice": f"{TS}, {TS}",
            "arabic digits": TS.translate({ord(digit): 0x660 + int(digit) for digit in "0123456789"}),
            "full-width digits": TS.translate({ord(digit): 0xFF10 + int(digit) for digit in "0123456789"}),
        }.items()
    },
    "no timestamp": (None, GOOD, BODY, (SECRET,)),
    "no signature": (TS, None, BODY, (SECRET,)),
    "neither": (None, None, BODY, (SECRET,)),
    "empty signature": (TS, "", BODY, (SECRET,)),
    "only the version": (TS, "v0=", BODY, (SECRET,)),
    "version 1": (TS, GOOD.replace("v0=", "v1="), BODY, (SECRET,)),
    "no version": (TS, GOOD[3:], BODY, (SECRET,)),
    "upper-case hex": (TS, "v0=" + GOOD[3:].upper(), BODY, (SECRET,)),
    "upper-case version": (TS, GOOD.replace("v0", "V0"), BODY, (SECRET,)),
    "leading space in the signature": (TS, f" {GOOD}", BODY, (SECRET,)),
    "trailing newline in the signature": (TS, f"{GOOD}\n", BODY, (SECRET,)),
    "too short": (TS, GOOD[:-1], BODY, (SECRET,)),
    "too long": (TS, f"{GOOD}0", BODY, (SECRET,)),
    "not ASCII": (TS, GOOD[:-1] + "é", BODY, (SECRET,)),
    "two signatures": (TS, f"{GOOD}, {GOOD}", BODY, (SECRET,)),
    "of another secret": (TS, sign("other", TS, BODY), BODY, (SECRET,)),
    "of the empty secret": (TS, sign("", TS, BODY), BODY, ("",)),
    "of the empty secret beside a true one": (TS, sign("", TS, BODY), BODY, ("", SECRET)),
    "no secret at all": (TS, GOOD, BODY, ()),
    "another body": (TS, GOOD, b"payload=%7B%7D", (SECRET,)),
    "the empty body": (TS, GOOD, b"", (SECRET,)),
    "a longer body": (TS, GOOD, BODY + b"&b=2", (SECRET,)),
    "a re-ordered form": (TS, GOOD, b"a=1&payload=%7B%22type%22%3A%22block_actions%22%7D", (SECRET,)),
    "the same form in other escapes": (TS, GOOD, BODY.lower(), (SECRET,)),
    "a chunked body": (TS, GOOD, b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY), (SECRET,)),
    "a colon moved": (TS, sign(SECRET, f"{TS}:", BODY), BODY, (SECRET,)),
    "of no timestamp": (TS, sign(SECRET, "", BODY), BODY, (SECRET,)),
}


def test_there_are_enough_mutants() -> None:
    assert len(MUTANTS) >= 60


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_refused_in_one_line_without_secrets(mutant: str) -> None:
    timestamp, signature, body, secrets = MUTANTS[mutant]
    with pytest.raises(Unauthenticated) as refused:
        _check(timestamp, signature, body, secrets)
    message = str(refused.value)
    assert "\n" not in message
    assert SECRET not in message
    assert GOOD[3:] not in message
