"""Which captions meet a rule, and which mistakes in one are said how."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framecap.config import load_config
from framecap.errors import ConfigError, MissingError
from framecap.events.rules import Rule
from tests.events.factory import NOON, make_facts, one_rule

BERLIN = "Europe/Berlin"  # an hour before UTC in November
_NUMBERS = list(range(30))
TOO_MUCH = f"{_NUMBERS}.all(a, {_NUMBERS}.all(b, {_NUMBERS}.all(c, {_NUMBERS}.all(d, a + b + c + d >= 0))))"


@pytest.mark.parametrize(
    ("when", "caption", "meets"),
    [
        ({}, "A dog.", True),
        ({"words": ["dog"]}, "A Dog, running.", True),
        ({"words": ["DOG"]}, "a dog", True),
        ({"words": ["dog"]}, "Two dogs and a hotdog.", False),
        ({"words": ["cat", "dog"]}, "A dog.", True),
        ({"words": ["riding  a bike"]}, "A man riding a\tbike.", True),
        ({"words": ["riding a bike"]}, "A man riding a blue bike.", False),
        ({"words": ["a.c"]}, "abc", False),
        ({"words": ["größe"]}, "Die GRÖSSE.", False),
        ({"words": ["übung"]}, "Eine Übung!", True),
        ({"words": ["dog"]}, None, False),
        ({"statuses": ["failed"]}, None, True),
        ({"statuses": ["failed"]}, "A dog.", False),
        ({"confidence": 0.5}, "A dog.", True),
        ({"confidence": 0.51}, "A dog.", False),
        ({"cameras": ["do*"]}, "A dog.", True),
        ({"cameras": ["gate", "DOOR"]}, "A dog.", False),
        ({"words": ["dog"], "cameras": ["gate"]}, "A dog.", False),
        ({"between": "12:00-12:01", "time_zone": "UTC"}, "A dog.", True),
        ({"between": "11:00-12:00", "time_zone": "UTC"}, "A dog.", False),
        ({"between": "22:00-12:01", "time_zone": "UTC"}, "A dog.", True),
        ({"between": "12:01-11:59", "time_zone": "UTC"}, "A dog.", False),
        ({"between": "13:00-13:01", "time_zone": BERLIN}, "A dog.", True),
        ({"expression": 'caption.contains("dog") && confidence > 0.4'}, "A dog.", True),
        ({"expression": 'caption.matches("(?i)\\\\bDOG\\\\b") && camera in ["door", "gate"]'}, "A dog.", True),
        ({"expression": f'time.getHours("{BERLIN}") == 13'}, "A dog.", True),
        ({"expression": "uncertain || truncated"}, "A dog.", False),
        ({"expression": 'previous_caption == "A cat." && previous_caption != caption'}, "A dog.", True),
        ({"expression": 'error == "empty" && caption == "" && confidence == 0.0', "statuses": ["failed"]}, None, True),
        ({"expression": "1 / (size(caption) - 6) > 0"}, "A dog.", False),  # cannot be computed: not met
    ],
)
def test_what_meets_a_rule(when: dict[str, Any], caption: str | None, meets: bool) -> None:
    assert Rule(one_rule(when)).matches(make_facts(caption=caption, previous="A cat.")) is meets


def test_a_caption_without_a_confidence_has_none() -> None:
    assert not Rule(one_rule({"confidence": 0.1})).matches(make_facts(confidence=None))


@given(
    words=st.lists(st.sampled_from(["ab", "ba", "aba", "b-a", "ö"]), min_size=1, max_size=6),
    wanted=st.sampled_from(["ab", "aba", "ö"]),
)
def test_a_word_is_met_where_it_stands_alone_and_nowhere_else(words: list[str], wanted: str) -> None:
    there = wanted in [part for word in words for part in word.split("-")]
    assert Rule(one_rule({"words": [wanted]})).matches(make_facts(caption=" ".join(words))) is there


@given(begin=st.integers(0, 1439), end=st.integers(0, 1439), at=st.integers(0, 1439))
def test_two_parts_of_a_day_are_the_whole_day(begin: int, end: int, at: int) -> None:
    facts = make_facts(at=NOON.replace(hour=0) + timedelta(minutes=at))

    def within(first: int, last: int) -> bool:
        hours = "-".join(f"{minute // 60:02d}:{minute % 60:02d}" for minute in (first, last))
        return Rule(one_rule({"between": hours, "time_zone": "UTC"})).matches(facts)

    assert begin == end or within(begin, end) is not within(end, begin)


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("foo == 1", "undeclared reference to 'foo'"),
        ("caption.contain('x')", "undeclared reference to 'contain'"),
        ("caption +", "Syntax error"),
        ("confidence > 'a'", "no matching overload"),
        ("1 + 2", "it is int, and true or false is expected"),
        ('caption.matches("(")', "missing )"),
        (TOO_MUCH, "Iteration budget exceeded"),
        ("caption.__class__ == ''", "cannot be the operand of a select"),
        ("__import__('os').system('touch sentinel') == 0", "undeclared reference"),
    ],
)
def test_a_wrong_expression_is_reported_with_its_rule_and_what_is_allowed(expression: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Rule(one_rule({"expression": expression}))
    text = str(refused.value)
    assert text.startswith("rule 'dog': expression: ")
    assert complaint in text
    assert "caption (string)" in text
    assert "\n" not in text


def test_no_regular_expression_takes_for_ever() -> None:
    rule = Rule(one_rule({"expression": 'caption.matches("^(a+)+$")'}))
    began = time.monotonic()
    assert not rule.matches(make_facts(caption="a" * 5000 + "!"))
    assert time.monotonic() - began < 2


def test_what_costs_too_much_for_a_caption_does_not_hold_and_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    rule = Rule(one_rule({"expression": f"size(caption) > 5 && {TOO_MUCH}"}))  # the sample that it is tried with is shorter
    assert not rule.matches(make_facts(caption="A long caption."))
    assert not rule.matches(make_facts(caption="Another long caption."))
    (output,) = caplog.messages
    assert output.startswith("rule 'dog': expression: it cannot be computed for ")
    assert "Iteration budget exceeded" in output


def test_an_expression_without_its_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)
    with pytest.raises(MissingError, match=r"rule 'dog': .* pip install 'framecap\[events\]'"):
        Rule(one_rule({"expression": "true"}))


def test_a_time_zone_that_there_is_not_is_named() -> None:
    for zone in ("Europe/Berlim", "../etc/passwd", "Europe"):
        with pytest.raises(ConfigError, match=r"rule 'dog': time_zone: .* such as Europe/Berlin"):
            Rule(one_rule({"between": "10:00-11:00", "time_zone": zone}))


# config.yaml

HOOK = "{webhook: {url: 'https://h/x'}}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"[{{name: a, do: [{HOOK}]}}, {{name: a, do: [{HOOK}]}}]", "two rules are named 'a'"),
        ("[{name: a}]", "events.rules.0.do: it is needed"),
        ("[{name: a, do: []}]", "events.rules.0.do"),
        (f"[{{name: 'a b', do: [{HOOK}]}}]", "events.rules.0.name"),
        ("[{name: a, do: [{}]}]", "exactly one of webhook, mqtt, sns, sqs, command"),
        (f"[{{name: a, do: [{HOOK[:-1]}, mqtt: {{host: h}}}}]}}]", "exactly one of"),
        ("[{name: a, do: [{shell: {}}]}]", "unknown key 'events.rules.0.do.0.shell': allowed here are webhook, mqtt"),
        ("[{name: a, do: [{webhook: {url: 'file:///etc/passwd'}}]}]", "http:// or https:// is expected"),
        ("[{name: a, do: [{command: {argv: []}}]}]", "argv"),
        ("[{name: a, do: [{mqtt: {host: h, password: x}}]}]", "mqtt.password needs a username"),
        ("[{name: a, do: [{mqtt: {host: h, topic: 'a/#'}}]}]", "a topic to publish to has no +"),
        ("[{name: a, do: [{sns: {topic: here}}]}]", "topic"),
        ("[{name: a, do: [{sqs: {queue: 'https://user:word@h/q'}}]}]", "queue"),
        (f"[{{name: a, when: {{word: dog}}, do: [{HOOK}]}}]", "did you mean 'events.rules.0.when.words'?"),
        (f"[{{name: a, when: {{words: dog}}, do: [{HOOK}]}}]", "events.rules.0.when.words: a list is expected"),
        (f"[{{name: a, when: {{words: [' ']}}, do: [{HOOK}]}}]", "events.rules.0.when.words.0"),
        (f"[{{name: a, when: {{between: '9-17'}}, do: [{HOOK}]}}]", "events.rules.0.when.between"),
        (f"[{{name: a, when: {{statuses: [done]}}, do: [{HOOK}]}}]", "events.rules.0.when.statuses.0"),
    ],
)
def test_what_is_refused_and_how(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"events: {{rules: {text}}}")
    with pytest.raises(ConfigError) as refused:
        load_config(tmp_path / "c.yaml", environment={})
    assert complaint in str(refused.value)
    assert "word@" not in str(refused.value)


def test_the_example_of_the_shipped_file_is_one(tmp_path: Path) -> None:
    lines = (Path(__file__).parents[2] / "config.yaml").read_text().split("  rules: []", 1)[1].splitlines()[1:]
    example = [line.strip()[1:] for line in lines if line.strip().startswith("#")]
    (tmp_path / "c.yaml").write_text(
        "events:\n  rules:\n" + "\n".join(example[: example.index("") if "" in example else None])
    )
    (rule,) = load_config(tmp_path / "c.yaml", environment={}).events.rules
    assert [action.kind for action in rule.do] == ["webhook", "mqtt", "command"]
    assert set(type(rule.when).model_fields) == rule.when.model_fields_set
    Rule(rule)
