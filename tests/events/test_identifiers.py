"""Foreign names as identifiers elsewhere: accepted there, and different where the names are."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from framecap.events.identifiers import MQTT_LEVEL, SQS_GROUP

GROUP_ID = re.compile(r"""[A-Za-z0-9!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}""")  # as SQS documents it


@given(st.text())
def test_every_name_is_a_group_id(name: str) -> None:
    assert GROUP_ID.fullmatch(SQS_GROUP.identifier(name))


@given(st.text(), st.text())
def test_different_names_have_different_identifiers(one: str, other: str) -> None:
    assert (SQS_GROUP.identifier(one) == SQS_GROUP.identifier(other)) == (one == other)


def test_name_that_is_accepted_stays_as_it_is() -> None:
    assert SQS_GROUP.identifier("front-door") == "front-door"
    assert MQTT_LEVEL.identifier("Front Door") == "Front Door"
    assert re.fullmatch(r"K-che-[0-9a-f]{8}", SQS_GROUP.identifier("Küche"))
