"""All settings: their types, defaults and meaning, read once at start.

Sources, later ones win: defaults, the TOML file named by `MINUET_CONFIG`, environment variables `MINUET_*`,
command-line flags. A secret can be read from a file named by `MINUET_<NAME>_FILE`. Unknown keys are errors, so
that a typo is found at start and not in production. `docs/settings.md` is generated from this class.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from base.policy import IntentPolicy, default_intents
from storage.redis.cluster_url import ClusterUrl, names_several

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
ClientVersion = Annotated[str, msgspec.Meta(pattern=r"^[^:]{1,64}:[0-9]+(\.[0-9]+)*$")]
PREFIX = "MINUET_"
SECRETS = frozenset(
    (
        "auth_secret",
        "redis_url",
        "database_url",
        "database_replica_url",
        "turn_secret",
        "turn_admin_password",
    )
)
_MIN_SECRET_LENGTH = 32


class InvalidSettings(Exception):
    """The configuration cannot be used; the message names the key and what is wrong with it."""


class RateLimitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """REST requests per minute and caller, by tier; 0 means no limit."""

    anonymous: Annotated[
        int,
        msgspec.Meta(
            ge=0, description="REST requests a minute of one address, without a token. 0: no limit."
        ),
    ] = 10
    user: Annotated[int, msgspec.Meta(ge=0, description="The same of one signed-in user.")] = 100
    moderator: Annotated[int, msgspec.Meta(ge=0, description="The same of one moderator.")] = 200
    admin: Annotated[int, msgspec.Meta(ge=0, description="The same of one administrator.")] = 0
    auth: Annotated[
        int,
        msgspec.Meta(
            ge=0, description="The same of one address, each for sign-in, registration and refresh."
        ),
    ] = 10


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything an operator can set."""

    host: Annotated[str, msgspec.Meta(description="Address that the public port listens on.")] = "127.0.0.1"
    port: Annotated[
        Port, msgspec.Meta(description="Public port: pages, REST and WebSocket; 0 takes a free one.")
    ] = 8080
    admin_host: Annotated[
        str, msgspec.Meta(description="Address of the admin port; never the public internet.")
    ] = "127.0.0.1"
    admin_port: Annotated[Port, msgspec.Meta(description="Port of health, readiness and metrics.")] = 9090
    state_dir: Annotated[
        str, msgspec.Meta(description="Folder of the embedded servers' data (only `minuet dev`).")
    ] = ".minuet"
    redis_url: Annotated[
        str | None,
        msgspec.Meta(
            description="Redis 7 or Valkey 8; embedded where unset in `dev`, needed elsewhere. "
            "With `redis_cluster` it may name several nodes: `redis://:password@one:6379,two:6379`."
        ),
    ] = None
    redis_cluster: Annotated[
        bool,
        msgspec.Meta(
            description="Redis is a cluster; `redis_url` leads to any of its nodes. Also the flag `--redis-cluster`."
        ),
    ] = False
    redis_prefix: Annotated[
        str, msgspec.Meta(description="Starts every key, so that deployments can share a server.")
    ] = "minuet:"
    database_url: Annotated[
        str | None,
        msgspec.Meta(description="PostgreSQL 15 or later; embedded where unset in `dev`, needed elsewhere."),
    ] = None
    database_replica_url: Annotated[
        str | None,
        msgspec.Meta(
            description="A read replica of that server: histories are read there while it is not too far behind."
        ),
    ] = None
    database_replica_max_age_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.5, le=3600, description="How old what the replica shows may be; else the primary is asked."
        ),
    ] = 5.0
    auth_secret: Annotated[
        str | None,
        msgspec.Meta(
            description="Signs access tokens (HS256), at least 32 characters. In `dev` one is made and kept in the state folder."
        ),
    ] = None
    auth_issuer: Annotated[str, msgspec.Meta(description="`iss` of access tokens.")] = "minuet"
    auth_audience: Annotated[str, msgspec.Meta(description="`aud` of access tokens.")] = "minuet"
    access_token_s: Annotated[int, msgspec.Meta(ge=10, description="Life of an access token, seconds.")] = 900
    refresh_token_s: Annotated[int, msgspec.Meta(ge=60, description="Life of a refresh token, seconds.")] = (
        30 * 86_400
    )
    allowed_origins: Annotated[
        tuple[str, ...],
        msgspec.Meta(
            description="Origins whose pages may open a WebSocket; the server's own in `dev`. `*` allows all."
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="Networks (CIDR) whose `X-Forwarded-For` is believed."),
    ] = ()
    stun_urls: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="STUN servers told to clients, e.g. `stun:stun.example:3478`."),
    ] = ()
    turn_urls: Annotated[
        tuple[str, ...],
        msgspec.Meta(
            description="TURN servers (coturn) told to clients, e.g. `turn:turn.example:3478?transport=udp`. "
            "In `dev` a coturn that is installed here is started and used."
        ),
    ] = ()
    turn_secret: Annotated[
        str | None,
        msgspec.Meta(description="The TURN servers' `static-auth-secret`, at least 16 characters."),
    ] = None
    turn_credential_s: Annotated[
        int,
        msgspec.Meta(
            ge=30,
            le=3600,
            description="Longest life of TURN credentials, seconds; never long beyond the call.",
        ),
    ] = 300
    turn_relay_addresses: Annotated[
        tuple[str, ...],
        msgspec.Meta(
            description="Addresses or networks (CIDR) at which the TURN servers relay, as clients see them: "
            "with `ip_privacy` no other candidate reaches the other side."
        ),
    ] = ()
    turn_relay_ports: Annotated[
        str, msgspec.Meta(description="The TURN servers' relay ports: `min-port` to `max-port`.")
    ] = "49152-65535"
    turn_admin: Annotated[
        tuple[str, ...],
        msgspec.Meta(
            description="Admin interface (`cli-ip:cli-port`) of every TURN server, where a worker ends the "
            "allocations of calls that are over."
        ),
    ] = ()
    turn_admin_password: Annotated[
        str | None, msgspec.Meta(description="The TURN servers' `cli-password`, the same for all.")
    ] = None
    consent_kept_days: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=3650,
            description="For how long consent logs are kept, unless a report about the call is open.",
        ),
    ] = 30
    history_kept_days: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=36_500,
            description="For how long ended calls stay in history, with what people thought of them; at least as long as "
            "their consent logs, and as long as a report about them is open. 0: for good.",
        ),
    ] = 730
    reports_kept_days: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=36_500,
            description="For how long reports are kept after they were resolved. 0: for good.",
        ),
    ] = 1_095
    audit_kept_days: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=36_500,
            description="For how long the audit log of moderators is kept, unless the report it is about is open. "
            "0: for good.",
        ),
    ] = 1_095
    drain_notice_s: Annotated[
        float,
        msgspec.Meta(
            ge=0,
            le=60,
            description="For how long a hub that was told to stop says that it is not ready, before it sends its people "
            "elsewhere: what your balancer needs to notice.",
        ),
    ] = 0.0
    max_sessions: Annotated[
        int, msgspec.Meta(ge=1, description="WebSocket sessions of one node; more are answered 503.")
    ] = 20_000
    handshakes_per_s: Annotated[
        float,
        msgspec.Meta(gt=0, description="WebSocket handshakes per second of one node; more are answered 503."),
    ] = 1_000
    max_loop_lag_s: Annotated[
        float,
        msgspec.Meta(
            gt=0,
            description="While a node's own loop is this late, handshakes are answered 503: it has enough to do.",
        ),
    ] = 1.0
    handshakes_per_address_s: Annotated[
        float, msgspec.Meta(gt=0, description="WebSocket handshakes per second and address.")
    ] = 10
    least_client_versions: Annotated[
        tuple[ClientVersion, ...],
        msgspec.Meta(
            description="The least version of each app that is served, by the name it gives itself, e.g. `minuet-web:1.4.0`; "
            "older ones are closed with 4505."
        ),
    ] = ()
    strict_messages: Annotated[
        bool,
        msgspec.Meta(description="Refuse unknown fields in messages instead of counting them; on in `dev`."),
    ] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], msgspec.Meta(description="Least level that is logged.")
    ] = "info"
    log_format: Annotated[
        Literal["json", "console"], msgspec.Meta(description="One JSON object a line, or text for people.")
    ] = "json"
    rate_limits: RateLimitSettings = RateLimitSettings()
    intents: dict[str, IntentPolicy] = msgspec.field(default_factory=default_intents)


def dev_defaults() -> dict[str, Any]:
    """What `minuet dev` sets unless the operator does: one person on one machine, many tabs."""
    return {
        "strict_messages": True,
        "log_format": "console",
        "rate_limits": {"anonymous": 600, "user": 1200, "auth": 600},
        # The same two tabs are all that a newcomer has: let them meet again and again.
        "intents": {name: {"recent_partner_s": 5} for name in default_intents()},
    }


def load(environ: Mapping[str, str], defaults: Mapping[str, Any] | None = None) -> Settings:
    """Settings from `defaults`, the TOML file and the environment. Raises: InvalidSettings."""
    raw: dict[str, Any] = dict(defaults or {})
    if path := environ.get(f"{PREFIX}CONFIG"):
        raw = _merged(raw, _read_toml(Path(path)))
    raw = _merged(raw, _read_environment(environ))
    intents = raw.get("intents")
    if isinstance(intents, Mapping):
        raw["intents"] = _with_default_intents(intents)
    try:
        settings = msgspec.convert(raw, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidSettings(str(error)) from None
    if settings.auth_secret is not None and len(settings.auth_secret) < _MIN_SECRET_LENGTH:
        raise InvalidSettings(f"auth_secret: at least {_MIN_SECRET_LENGTH} characters")
    if not settings.intents:
        raise InvalidSettings("intents: at least one is needed")
    _check_redis(settings)
    return settings


def require(settings: Settings, *names: str) -> None:
    """Refuses to go on without these settings. Raises: InvalidSettings naming each."""
    missing = [f"{PREFIX}{name.upper()}" for name in names if getattr(settings, name) is None]
    if missing:
        raise InvalidSettings(f"not set: {', '.join(missing)}")


def _check_redis(settings: Settings) -> None:
    if settings.redis_url is None:
        return
    try:
        if settings.redis_cluster:
            ClusterUrl.parse(settings.redis_url)
        elif names_several(settings.redis_url):
            raise ValueError("names several servers, which needs redis_cluster")
    except ValueError as error:
        raise InvalidSettings(f"redis_url: {error}") from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidSettings(f"{PREFIX}CONFIG: cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{path}: {error}") from None


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    raw: dict[str, Any] = {}
    for key, value in environ.items():
        if not key.startswith(PREFIX) or key == f"{PREFIX}CONFIG":
            continue
        name = key.removeprefix(PREFIX).lower()
        if name.endswith("_file") and name.removesuffix("_file") in SECRETS:
            raw[name.removesuffix("_file")] = _read_secret(key, Path(value))
            continue
        if name.startswith("rate_limits_"):
            raw.setdefault("rate_limits", {})[name.removeprefix("rate_limits_")] = value
        elif name not in fields or name == "intents":
            raise InvalidSettings(f"{key}: no such setting")
        elif isinstance(fields[name].default, tuple):
            raw[name] = [part.strip() for part in value.split(",") if part.strip()]
        else:
            raw[name] = value
    return raw


def _read_secret(key: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{key}: cannot read {path}: {error}") from None


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        before = result.get(key)
        result[key] = (
            _merged(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
        )
    return result


def _with_default_intents(intents: Mapping[str, Any]) -> dict[str, Any]:
    """Known intents start from their own defaults, so that `[intents.dating] call_seconds = 20` keeps the rest."""
    known = {name: msgspec.to_builtins(policy) for name, policy in default_intents().items()}
    return {
        name: _merged(known.get(name, {}), policy) if isinstance(policy, Mapping) else policy
        for name, policy in {**known, **intents}.items()
    }
