"""A chat template's work ends, and depends on nothing but its variables."""

from __future__ import annotations

from datetime import date

import pytest

from p2p.base.errors import ConfigError
from p2p.base.serving_limits import MAX_RENDERED, MAX_TEMPLATE, MAX_TEMPLATE_STEPS
from p2p.text.sandbox import Refused, TooMuch
from p2p.text.template import compiled, render
from p2p.text.today import read_day, written


def said(source: str, **variables: object) -> str:
    return render(compiled(source), variables)


@pytest.mark.parametrize(("source", "text"), [
    ("{% for x in [1, 2] %}\n  {{ x }}{{ loop.length }}{{ loop.last }}\n{% endfor %}", "  12False\n  22True\n"),
    ("{% for x in 'abc' if x != 'b' %}{% if x == 'c' %}{% break %}{% endif %}{{ x }}{% else %}none{% endfor %}", "a"),
    ("{% for x in nothing %}{% else %}none{% endfor %}", "none"),
    ("{% for x in [[1, [2]]] recursive %}{{ x }}{% if x is iterable %}({{ loop(x) }}){% endif %}{% endfor %}", None),
    ("{{ 'a' ~ 1 ~ none ~ missing }}", "a1None"),
    ("{{ {'b': '<é>', 'a': [1.5, none]} | tojson }}", '{"b": "<é>", "a": [1.5, null]}'),
    ("{{ {'b': 'é\U0001f336', 'a': 1} | tojson(ensure_ascii=true, sort_keys=true) }}",
     '{"a": 1, "b": "\\u00e9\\ud83c\\udf36"}'),
    ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
    ("{{ 'aXb' | replace('X', '-') }}{{ 'aXX'.replace('X', '-', 1) }}", "a-ba-X"),
    ("{{ ['a', 1] | join('+') }}{{ '-'.join(['a', 'b']) }}", "a+1a-b"),
    ("{{ [{'n': 'a'}, {'n': 'b'}] | join(',', attribute='n') }}", "a,b"),
    ("{{ '%s-%d' % ('a', 5) }}{{ '%s' | format('b') }}{{ '{}{:>3}'.format('c', 'd') }}", "a-5bc  d"),
    ("{{ 7 % 4 }}{{ 2 ** 3 }}{{ 'ab' * 2 }}{{ [1] + [2] }}", "38abab[1, 2]"),
    ("{% generation %}{% set x = 1 %}a{{ x }}{% endgeneration %}{{ x is defined }}", "a1False"),
    ("{{ strftime_now('%d %b %Y|%Y-%m-%d|%A, %B %-d %y %j %e %H:%M:%S %%') }}",
     "01 Jan 2025|2025-01-01|Wednesday, January 1 25 001  1 00:00:00 %"),
    ("{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f('a') }}", "<a>"),
    ("{% set ns = namespace(n=0) %}{% for x in 'ab' %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "2"),
])
def test_templates_are_rendered_as_jinja_does(source: str, text: str | None) -> None:
    if text is not None:
        assert said(source) == text
    else:
        compiled(source)


DOUBLING = "{% set ns = namespace(s='a') %}{% for i in range(99) %}{% set ns.s = ns.s OP ns.s %}{% endfor %}"


@pytest.mark.parametrize("source", [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in text %}{% for b in text %}{{ '' }}{% endfor %}{% endfor %}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% for a in range(99999) %}{{ text }}{% endfor %}",
    DOUBLING.replace("OP", "+"), DOUBLING.replace("OP", "~"),
    "{{ 'a' * 1000000000 }}", "{{ 1000000000 * [1] }}", "{{ 10 ** 999999999 }}", "{{ '%1000000000d' % 1 }}",
    "{{ '%*d' % (1000000000, 1) }}", "{{ '%1000000000d' | format(1) }}", "{{ '{:1000000000}'.format(1) }}",
    "{{ '{:{}}'.format(1, 1000000000) }}", "{{ 'a'.zfill(1000000000) }}", "{{ 'a'.ljust(1000000000) }}",
    "{{ 'a\nb' | indent(1000000000) }}", "{{ [1] | tojson(indent=1000000000) }}",
    "{{ [1] | batch(1000000000, 1) | list }}",
    "{{ [1] | slice(1000000000) | list }}", "{{ text.replace('a', text) }}", "{{ text | replace('a', text) }}",
    "{{ text.join(text) }}", "{{ text | join(text) }}", "{{ (text | list).__len__ }}{{ 'a'.expandtabs(1000000000) }}",
    "{{ messages.index }}", "{{ raise_exception }}",
])
def test_no_template_runs_on(source: str) -> None:
    with pytest.raises(TooMuch):
        said(source, text="a" * 100_000, messages=[])


@pytest.mark.parametrize("source", [
    "{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{% include 'x' %}", "{{ lipsum() }}",
    "{{ [1, 2] | random }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ range(1000000) }}", "{{ 1 / 0 }}", "{{ missing.x }}",
    "{{ strftime_now('%s') }}", "{{ [] | tojson | int / 0 }}",
])
def test_what_a_template_may_not_do_is_an_error(source: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        said(source, messages=[])
    assert not isinstance(caught.value, MemoryError)


@pytest.mark.parametrize("source", ["{% for %}", "{{", "{% nonsense %}", "{{ x | nofilter }}", "{{ " + "(" * 5000,
                                    "x" * (MAX_TEMPLATE + 1)])
def test_what_is_no_template_is_said(source: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compiled(source)
    assert caught.value.field == "template"


def test_a_template_refuses_in_its_own_words() -> None:
    with pytest.raises(Refused, match="no system role"):
        said("{{ raise_exception('no system role') }}")


def test_steps_and_text_are_those_of_one_rendering() -> None:
    many = MAX_TEMPLATE_STEPS // 4
    loop = compiled("{% for a in range(9) %}{% for b in items %}{% endfor %}{% endfor %}")
    for _ in range(3):
        assert render(loop, {"items": [1] * (many // 4)}) == ""
    with pytest.raises(TooMuch):
        render(loop, {"items": [1] * many})
    assert len(said("{{ x }}", x="a" * MAX_RENDERED)) == MAX_RENDERED
    with pytest.raises(TooMuch):
        said("{{ x }}{{ x }}", x="a" * MAX_RENDERED)


def test_a_template_cannot_reach_its_own_meter() -> None:
    assert said("{% set _work = 1 %}{{ _work }}") == "1"


def test_the_day_is_the_one_that_is_named() -> None:
    assert render(compiled("{{ strftime_now('%F') }}"), {}, read_day("2026-02-28")) == "2026-02-28"
    assert written(date(2026, 12, 9), "%-m/%-d") == "12/9"
    for wrong in ("2026-02-30", "yesterday", 5, None, "２０２６-02-01"):
        with pytest.raises(ValueError):  # noqa: PT011
            read_day(wrong)
