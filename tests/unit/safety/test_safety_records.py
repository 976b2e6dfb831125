"""Blocks and reports in the form in which they wait."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.ids import CallId, UserId
from safety.records import (
    Block,
    Report,
    ReportCategory,
    SafetyRecord,
    decode_record,
    encode_record,
)
from signaling.protocol.messages.call import SafetyReport

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
CALLS = st.none() | st.builds(CallId, TEXT)
PEOPLE = st.builds(UserId, TEXT)
TIMES = st.integers(0, 1 << 50)
RECORDS = st.builds(Block, id=TEXT, by_id=PEOPLE, other_id=PEOPLE, call_id=CALLS, made_at=TIMES) | st.builds(
    Report,
    id=TEXT,
    by_id=PEOPLE,
    other_id=PEOPLE,
    call_id=CALLS,
    category=st.sampled_from(ReportCategory),
    note=TEXT,
    made_at=TIMES,
)


@given(RECORDS)
def test_a_record_comes_back_as_it_was(record: SafetyRecord) -> None:
    """Whatever people wrote."""
    assert decode_record(encode_record(record)) == record


@given(st.binary(max_size=40))
def test_what_is_no_record_is_refused_by_one_error(payload: bytes) -> None:
    """The recorder puts it aside; nothing else may come out of reading it."""
    try:
        decode_record(payload)
    except msgspec.MsgspecError:
        return
    raise AssertionError("random bytes were taken for a record")


def test_fields_of_a_newer_release_are_passed_over() -> None:
    """Its reports are written by an older recorder during a rolling update."""
    report = Report(
        id="r",
        by_id=UserId("a"),
        other_id=UserId("b"),
        call_id=None,
        category=ReportCategory.HATE,
        note="",
        made_at=1,
    )
    fields = msgspec.msgpack.decode(encode_record(report)) | {"severity": 3}

    assert decode_record(msgspec.msgpack.encode(fields)) == report


@pytest.mark.parametrize("category", ReportCategory)
def test_every_category_can_be_named_by_a_client(category: ReportCategory) -> None:
    """The list of the messages and the list of the records are one."""
    message = {"call_id": "01a1fd88-1e5b-7ca4-8f26-f31e19b29d0a", "category": category.value}

    assert msgspec.convert(message, SafetyReport).category == category.value
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(message | {"category": f"{category}s"}, SafetyReport)
