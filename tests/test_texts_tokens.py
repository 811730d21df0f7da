"""Tokens: the published rule, typography, and scripts without spaces between words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from texts.tokens import published_tokens, tokenise, tokeniser, unsegmented


def oracle(text: str) -> list[str]:
    """The rule as published models of this family state it, by a regular expression."""
    return re.sub(r"([.,'!?\"()*#:;])", "", text.lower()).replace("-", " ").replace("/", " ").split()


@settings(derandomize=True, deadline=None)
@given(st.text(alphabet=st.one_of(st.sampled_from(".,'!?\"()*#:;-/ aB\n"), st.characters())))
def test_published_tokens_follow_the_rule(text: str) -> None:
    assert published_tokens(text) == oracle(text)


@settings(derandomize=True, deadline=None)
@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_plain_texts_are_read_as_published(text: str) -> None:
    assert tokenise(text) == oracle(text)


@pytest.mark.parametrize(
    "text, tokens",
    [
        ("What's the man's T-shirt colour?", ["whats", "the", "mans", "t", "shirt", "colour"]),
        ('A "red/blue" ball (left), #3: far; *right*!', ["a", "red", "blue", "ball", "left", "3", "far", "right"]),
        ("  two \t words\n", ["two", "words"]),
        ("...?!", []),
        ("The man’s “big” dog – it’s 3…", ["the", "mans", "big", "dog", "its", "3"]),
        ("«¿Qué es?» «Un niño»", ["qué", "es", "un", "niño"]),
        ("两只 狗，在 草地 上。", ["两只", "狗", "在", "草地", "上"]),
        ("cafe\u0301 caf\u00e9", ["café", "café"]),
        ("\ufeffa\u00a0dog\u200b runs", ["a", "dog", "runs"]),
    ],
)
def test_tokenise(text: str, tokens: list[str]) -> None:
    assert tokenise(text) == tokens


def test_a_segmenter_finds_words_where_no_space_parts_them() -> None:
    segment = tokeniser("zh")
    assert segment("两只狗，在草地上。A dog's T-shirt和iPhone") == [
        *"两只狗在草地上",
        "a",
        "dogs",
        "t",
        "shirt",
        "和",
        "iphone",
    ]
    assert segment("café在Zürich") == ["café", "在", "zürich"]
    assert tokeniser(None) is tokenise
    with pytest.raises(UserError, match=r"data.segmenter='xx1' cannot be used .* such as zh, ja or th"):
        tokeniser("xx1")


def test_whole_sentences_as_words_are_noticed() -> None:
    chinese = ["两只狗在草地上奔跑", "一个女人骑着自行车", "天空是蓝色的很美丽", "ok"]
    assert unsegmented(chinese) == "zh"
    assert unsegmented(["犬が草の上を走っている", "女性が自転車に乗っている"]) == "ja"
    assert unsegmented(["สุนัขวิ่งบนสนามหญ้า"]) == "th"
    assert unsegmented(["ໝາແລ່ນໃນສະໜາມຫຍ້າ"]) == "" == unsegmented(["ឆ្កែរត់លើស្មៅ"])
    assert unsegmented(["红色的球", "蓝色方块"]) == "zh"
    assert unsegmented([word for text in chinese for word in text]) is None
    assert unsegmented(["dog", "niño", "собака", "كلب"]) is None and unsegmented([]) is None
