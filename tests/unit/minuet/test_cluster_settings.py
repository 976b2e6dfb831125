"""How an operator says that Redis is a cluster."""

import pytest

from minuet.__main__ import main
from minuet.settings import InvalidSettings, load

SEVERAL = "redis://user:secret@one:7000,two:7001"


def test_a_cluster_may_be_named_by_several_nodes() -> None:
    """The URL is taken as it is; the client reads it."""
    settings = load({"MINUET_REDIS_URL": SEVERAL, "MINUET_REDIS_CLUSTER": "true"})

    assert settings.redis_cluster
    assert settings.redis_url == SEVERAL


def test_a_single_server_is_the_default() -> None:
    """Nobody who runs one server has to say so."""
    assert not load({"MINUET_REDIS_URL": "redis://one"}).redis_cluster


@pytest.mark.parametrize(
    ("url", "cluster", "reason"),
    [
        (SEVERAL, "false", "needs redis_cluster"),
        ("redis://one/3", "true", "database 0 only"),
        ("unix:///run/redis.sock", "true", "redis or rediss"),
        ("redis://user:secret@one,two:notaport", "true", "not a host"),
        ("redis://user:secret@", "true", "not a host"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_at_start(url: str, cluster: str, reason: str) -> None:
    """The message names the setting and tells nothing of the password."""
    with pytest.raises(InvalidSettings, match=f"redis_url: .*{reason}") as refused:
        load({"MINUET_REDIS_URL": url, "MINUET_REDIS_CLUSTER": cluster})

    assert "secret" not in str(refused.value)


def test_the_flag_says_it_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`--redis-cluster` wins over the environment, and check-config prints what it comes to."""
    monkeypatch.setenv("MINUET_REDIS_URL", SEVERAL)
    monkeypatch.setenv("MINUET_REDIS_CLUSTER", "false")

    status = main(["check-config", "--redis-cluster"])

    assert status == 0
    assert "redis_cluster = True" in capsys.readouterr().out.splitlines()


def test_dev_does_not_take_its_own_server_for_a_cluster(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a URL it would start a single embedded server."""
    monkeypatch.delenv("MINUET_REDIS_URL", raising=False)
    monkeypatch.setenv("MINUET_REDIS_CLUSTER", "false")

    status = main(["dev", "--redis-cluster"])

    assert status == 2
    assert "redis_cluster" in capsys.readouterr().err
