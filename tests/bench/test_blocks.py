"""Blocks of documents: only what is between the markers changes."""

import pytest

from lightvit_bench.bench.blocks import block_of, has_block, replace_block
from lightvit_bench.errors import BadDataError

BEGIN = "<!-- begin: {} (made by tools/make_docs.py; do not edit) -->\n"
END = "<!-- end: {} -->\n"
ONE, TWO = (BEGIN.format(name) + "{}" + END.format(name) for name in ("one", "two"))
TEXT = "# Title\n\n" + ONE.format("\nold\n\n") + "between\n" + TWO.format("") + "\nafter\n"


def test_only_the_block_changes():
    new = replace_block(TEXT, "one", "| a |\n| --- |\n")
    assert new == TEXT.replace("\nold\n\n", "\n| a |\n| --- |\n\n")
    assert block_of(new, "one") == "| a |\n| --- |"
    assert block_of(new, "two") == ""


def test_replacing_again_changes_nothing():
    once = replace_block(TEXT, "two", "\n\nbody \\1 \\g<0>\n\n")
    assert block_of(once, "two") == "body \\1 \\g<0>"
    assert replace_block(once, "two", block_of(once, "two")) == once
    assert replace_block(once, "two", "") == TEXT


def test_a_name_is_whole():
    text = TEXT + BEGIN.format("one-more") + "inner\n" + END.format("one-more")
    assert block_of(text, "one") == "old"
    assert block_of(text, "one-more") == "inner"
    assert has_block(TEXT, "one") and not has_block(TEXT, "one-more") and not has_block(TEXT, "on")


@pytest.mark.parametrize(
    ("text", "needles"),
    [
        ("# Title\n", ["begin of the block one is missing", "<!-- begin: one (made by"]),
        (BEGIN.format("one"), ["end of the block one is missing", "<!-- end: one -->"]),
        (END.format("one"), ["begin of the block one is missing"]),
        (TEXT + ONE, ["begin of the block one is 2 times", "3, 13"]),
        (TEXT + END.format("one"), ["end of the block one is 2 times"]),
        (END.format("one") + BEGIN.format("one"), ["stands before its begin"]),
        ("<!-- begin: one -->\n" + END.format("one"), ["begin", "misspelled in line 1"]),
        (BEGIN.format("one") + "<!-- end: one-->\n", ["end", "misspelled in line 2"]),
        ("  " + BEGIN.format("one") + END.format("one"), ["misspelled in line 1"]),
        (BEGIN.format("one") + TWO + END.format("one"), ["another block", "begin: two"]),
    ],
)
def test_markers_that_do_not_pair_are_refused(text, needles):
    for call in (lambda: block_of(text, "one"), lambda: replace_block(text, "one", "x")):
        with pytest.raises(BadDataError) as error:
            call()
        for needle in needles:
            assert needle in str(error.value)


@pytest.mark.parametrize("body", ["a\n<!-- end: one -->\nb", "<!-- begin: three -->"])
def test_a_body_with_markers_is_refused(body):
    with pytest.raises(BadDataError, match="marker of its own"):
        replace_block(TEXT, "one", body)


def test_a_name_has_no_brackets():
    with pytest.raises(BadDataError, match="no name of a block"):
        block_of(TEXT, "one)")
