"""The text of keys: what they are is told by their beginning, and that they are whole by their checksum."""

import zlib

import pytest

from accounts import key_text

BASE62 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.mark.parametrize("beginning", [key_text.API_KEY, key_text.SERVICE_KEY])
def test_a_key_is_read_back_as_what_it_was_made(beginning):
    key = key_text.make(beginning=beginning)
    assert key_text.parse(key.text, beginning=beginning) == key
    assert len(key.text) == 66
    assert key.secret not in repr(key)


def test_the_checksum_is_the_crc_32_of_all_before_it_in_base_62():
    text = key_text.make(beginning=key_text.API_KEY).text
    number = 0
    for digit in text[-6:]:
        number = number * 62 + BASE62.index(digit)
    assert number == zlib.crc32(text[:-6].encode())


def test_a_key_of_one_kind_is_none_of_the_other():
    text = key_text.make(beginning=key_text.API_KEY).text
    assert key_text.parse(text, beginning=key_text.SERVICE_KEY) is None
    assert key_text.parse(text.replace("live", "gate"), beginning=key_text.SERVICE_KEY) is None


@pytest.mark.parametrize("place", [8, 15, 17, 59, 60, 65])
def test_one_wrong_character_anywhere_is_noticed(place):
    text = key_text.make(beginning=key_text.API_KEY).text
    wrong = text[:place] + ("a" if text[place] != "a" else "b") + text[place + 1 :]
    assert key_text.parse(wrong, beginning=key_text.API_KEY) is None


def test_keys_are_found_in_any_text_and_examples_are_not():
    keys = [key_text.make(beginning=beginning) for beginning in (key_text.API_KEY, key_text.SERVICE_KEY)]
    text = f"export A={keys[0].text}\nB='{keys[1].text}' ck_live_00000000_{'0' * 49} ck_live_..."
    assert key_text.find_all(text) == [key.prefix for key in keys]


def test_the_form_of_a_prefix_is_told_from_labels():
    assert key_text.is_api_key_prefix(key_text.make(beginning=key_text.API_KEY).prefix)
    lengths = ("ck_live_", "ck_live_1234567", "ck_live_123456789", "ck_live_1234567\n")
    lengths = ("ck_live_", "ck_live_1234567", "ck_live_123456789", "ck_live_1234567\n")
    for label in ("", "key_12", "ck_gate_12345678", *lengths):
        assert not key_text.is_api_key_prefix(label)


def test_no_digest_is_the_same_as_that_of_a_missing_key():
    digest = key_text.digest("x")
    assert key_text.is_same(stored=digest, given=digest)
    assert not key_text.is_same(stored=key_text.digest("y"), given=digest)
    assert not key_text.is_same(stored=None, given=digest)
    assert not key_text.is_same(stored=None, given=key_text.digest(""))
