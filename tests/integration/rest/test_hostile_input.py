"""Random and mangled requests at every endpoint: refusals, never a fault of ours."""

import random
import re
from typing import Any

import orjson
import pytest

from rest.app import ENDPOINTS

PARAMETER = re.compile(r"\{\w+\}")
ROUNDS = 400

STRANGE: list[Any] = [
    None,
    True,
    0,
    -1,
    2**63,
    2**64 - 1,
    1.5,
    "",
    " ",
    "\x00",
    "a\x00b",
    "\u202e",
    "\ufffe",
    "𝕬𝖉𝖆",
    "x" * 5_000,
    "' OR 1=1 --",
    "%s%n",
    "{{7*7}}",
    "../../etc/passwd",
    "1990-05-17",
    "0000-00-00",
    "ada@example.org",
    "female",
    [],
    {},
    [[]],
    [None],
    {"a": {"b": {"c": []}}},
    ["en"] * 100,
]

SOUND = {
    "email": "ada@example.org",
    "password": "correct horse battery",
    "first_name": "Ada",
    "gender": "female",
    "birth_date": "1990-05-17",
    "languages": ["en"],
    "region": "eu",
    "locale": "en",
    "terms_version": "1",
    "privacy_version": "1",
    "device_id": "d",
    "refresh_token": "mrt_" + "A" * 43,
}


def mangled(dice: random.Random) -> dict[str, Any]:
    body = dict(SOUND)
    for _ in range(dice.randint(1, 4)):
        name = dice.choice([*SOUND, "\x00", "", "unknown", "__class__"])
        if dice.random() < 0.3:
            body.pop(name, None)
        else:
            body[name] = dice.choice(STRANGE)
    return body


def torn(dice: random.Random, body: bytes) -> bytes:
    """Bytes changed, cut or doubled."""
    changed = bytearray(body)
    for _ in range(dice.randint(0, 5)):
        place = dice.randrange(len(changed))
        changed[place : place + dice.randint(0, 3)] = dice.randbytes(dice.randint(0, 3))
    return bytes(changed)


@pytest.mark.parametrize("signed_in", [False, True], ids=["anonymous", "user"])
async def test_no_request_makes_the_server_fail(house: Any, signed_in: bool) -> None:
    """Each answer is in the envelope and below 500; afterwards everybody is served as before."""
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    token = (await house.sign_up())["access_token"] if signed_in else ""
    for turn in range(ROUNDS):
        endpoint = dice.choice([one for one in ENDPOINTS if "logout" not in one.path])
        path = PARAMETER.sub(
            lambda _: dice.choice(["0192f0c1-2345-7abc-8def-0123456789ab", "x", "%00"]), endpoint.path
        )
        if endpoint.query is not None or dice.random() < 0.1:
            path += f"?limit={dice.choice(['5', '-1', 'x', '9' * 30, '%00'])}&cursor={dice.choice(['', 'x', 'W10'])}"
        body = orjson.dumps(mangled(dice))
        answer = await house.client.request(
            endpoint.method,
            path,
            data=torn(dice, body) if dice.random() < 0.4 else body,
            headers={
                "Content-Type": dice.choice(["application/json"] * 4 + ["text/plain"]),
                "X-Request-ID": dice.choice(["", "x" * 100, "fine-request-id"]),
                "User-Agent": dice.choice(["Phone", "x" * 1_000, "é\xa0"]),
                **({"Authorization": f"Bearer {token}"} if token else {}),
                **({"Idempotency-Key": dice.choice(["k", "x" * 500, "é"])} if dice.random() < 0.3 else {}),
            },
        )
        text = await answer.read()

        assert answer.status < 500, (seed, turn, endpoint.name, body, text)
        assert orjson.loads(text)["success"] is (answer.status < 400), (seed, turn)

    assert (await house.post("/api/v1/auth/refresh", {"refresh_token": "x"})).status == 401
    assert house.counted("minuet_http_requests_total", route="unmatched", method="GET", status="500") == 0
