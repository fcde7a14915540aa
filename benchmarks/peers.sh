#!/usr/bin/env bash
# What `make bench` compares with and draws by: asyncssh and matplotlib into the virtual environment, and with
# --install, as root on Debian, OpenSSH's server and NRPE. Their services are not started: each run starts its own, on the loopback.
set -euo pipefail
python=$1
"$python" -m pip install --quiet asyncssh matplotlib ||
    echo "bench: not all of asyncssh and matplotlib could be installed; what is here is used" >&2
if [ "${2:-}" = --install ]; then
    if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
        echo "bench: only root of a Debian can install peers; what is here is used" >&2
        exit 0
    fi
    # Asked before a package starts a service of its own (deb-systemd-invoke(1)): no.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        openssh-server openssh-client nagios-nrpe-server nagios-nrpe-plugin >/dev/null
fi
