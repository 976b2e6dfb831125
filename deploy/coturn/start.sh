#!/bin/sh
# Starts coturn with turnserver.conf and what is this deployment's own:
#
#   MINUET_TURN_SECRET          shared with the hubs; 16 characters or more
#   MINUET_TURN_ADMIN_PASSWORD  shared with the workers
#   TURN_PUBLIC_ADDRESS         the address at which clients reach this server
#   TURN_PRIVATE_ADDRESS        the one that it has itself, where that is another; else found out
#   TURN_PORT                   3478; UDP and TCP
#   MINUET_TURN_RELAY_PORTS     49160-49359; as the hubs know them
#   TURN_ADMIN_PORT             5766, on loopback
#   TURN_REALM                  minuet
#   TURN_CERT, TURN_KEY         files; with them TLS and DTLS are served at TURN_TLS_PORT (5349)
#   TURN_LOG                    /dev/null: coturn's log names clients' addresses beside their calls. `stdout` shows it
#   TURN_RUN_DIR                /tmp: where the whole configuration goes, readable by this user only
set -eu

: "${MINUET_TURN_SECRET:?is not set}" "${MINUET_TURN_ADMIN_PASSWORD:?is not set}" "${TURN_PUBLIC_ADDRESS:?is not set}"
if [ "${#MINUET_TURN_SECRET}" -lt 16 ]; then
    echo "MINUET_TURN_SECRET: at least 16 characters" >&2
    exit 1
fi
# Anything else would be a line of configuration of its own.
for value in "$MINUET_TURN_SECRET" "$MINUET_TURN_ADMIN_PASSWORD" "$TURN_PUBLIC_ADDRESS"; do
    case "$value" in *[![:graph:]]*) echo "no spaces, line breaks or control characters in secrets and addresses" >&2; exit 1 ;; esac
done

private=${TURN_PRIVATE_ADDRESS:-$(hostname -i | cut -d ' ' -f 1)}
ports=${MINUET_TURN_RELAY_PORTS:-49160-49359}
run=${TURN_RUN_DIR:-/tmp}

umask 077
{
    # First: what is said before it would go elsewhere.
    echo "log-file=${TURN_LOG:-/dev/null}"
    echo "no-stdout-log"
    echo "simple-log"
    cat "$(dirname "$0")/turnserver.conf"
    echo "listening-ip=$private"
    echo "relay-ip=$private"
    if [ "$private" != "$TURN_PUBLIC_ADDRESS" ]; then
        echo "external-ip=$TURN_PUBLIC_ADDRESS/$private"
        # Both people of a call have their relay here: for coturn the one's peer is this address.
        echo "allowed-peer-ip=$private"
    fi
    echo "listening-port=${TURN_PORT:-3478}"
    echo "min-port=${ports%-*}"
    echo "max-port=${ports#*-}"
    # Each allocation takes a port. Refused by the quota, it is said; refused for want of a port, it is searched for first.
    echo "total-quota=$((${ports#*-} - ${ports%-*} + 1))"
    echo "realm=${TURN_REALM:-minuet}"
    echo "static-auth-secret=$MINUET_TURN_SECRET"
    echo "cli-port=${TURN_ADMIN_PORT:-5766}"
    echo "cli-password=$MINUET_TURN_ADMIN_PASSWORD"
    if [ -n "${TURN_CERT:-}" ]; then
        echo "tls-listening-port=${TURN_TLS_PORT:-5349}"
        echo "cert=$TURN_CERT"
        echo "pkey=${TURN_KEY:?is not set, and TURN_CERT is}"
    else
        echo "no-tls"
        echo "no-dtls"
    fi
    echo "userdb=$run/turndb"
    echo "pidfile=$run/turnserver.pid"
} > "$run/turnserver.conf"

# By a file: arguments show in every list of processes.
exec turnserver -c "$run/turnserver.conf"
