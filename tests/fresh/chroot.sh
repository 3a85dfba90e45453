#!/usr/bin/env bash
# Try `./dev run` on a Debian that has only apt and python3: does a clone end in a real container?
#
# Usage, as root: tests/fresh/chroot.sh [DIRECTORY]
#
# Makes a Debian tree with debootstrap in DIRECTORY (default: a new one, removed at the end; a
# given one is kept and used again), puts a clone of this repository's HEAD inside and calls
# `./dev run` there twice. Mounts, processes and the network are apart from the host's, except
# that packages come over the host's network, where the trial's bridge lies while it runs. SUITE and MIRROR choose the Debian. Fails when the
# first call does not greet, or the second installs or starts anything again.
set -euo pipefail

SUITE="${SUITE:-bookworm}"
MIRROR="${MIRROR:-}" # empty: debootstrap's own choice
SOURCE="$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../.." && pwd)"

say() { printf '\033[2m· %s\033[0m\n' "$*" >&2; }
die() { printf 'chroot.sh: %s\n' "$*" >&2; exit 1; }

make_tree() {
    local tree="$1"
    [ ! -e "$tree/usr/bin/python3" ] || return 0
    say "making Debian $SUITE in $tree"
    debootstrap --variant=minbase --include=python3,ca-certificates "$SUITE" "$tree" ${MIRROR:+"$MIRROR"} \
        >"$tree.log" 2>&1 || { tail -n 20 "$tree.log" >&2; die "debootstrap failed"; }
}

# What a machine behind a mirror or a proxy needs to reach its packages, as on the host.
share_network_settings() {
    local tree="$1" file
    cp --dereference /etc/resolv.conf "$tree/etc/resolv.conf"
    for file in /etc/ssl/certs/ca-certificates.crt /etc/hosts; do
        [ ! -e "$file" ] || cp --dereference "$file" "$tree$file"
    done
}

clone() {
    local tree="$1"
    rm -rf "$tree/root/pinnace"
    git clone --quiet --no-hardlinks "$SOURCE" "$tree/root/pinnace"
}

# Runs in namespaces of its own: nothing mounted here is seen, or left, outside.
inside() {
    local tree="$1" point
    mount --make-rprivate /
    mount --bind "$tree" "$tree"
    mount -t proc proc "$tree/proc"
    mount --rbind /sys "$tree/sys"
    mount --rbind /dev "$tree/dev"
    mount -t tmpfs tmpfs "$tree/run"
    # Containers' roots lie on overlay, which cannot lie on overlay itself.
    mkdir -p "$tree/var/lib/pinnace"
    point="$(findmnt -n -o FSTYPE -T "$tree/var/lib/pinnace")"
    [ "$point" != overlay ] || mount -t tmpfs tmpfs "$tree/var/lib/pinnace"
    chroot "$tree" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
        PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
        bash -euc "$(declare -f greet say die); greet"
}

greet() {
    cd /root/pinnace
    local began ended first second
    began=$EPOCHSECONDS
    first="$(./dev run </dev/null)" || die "the first ./dev run failed"
    ended=$EPOCHSECONDS
    trap './dev stop || true' EXIT
    printf '%s\n' "$first"
    [[ "$first" == "Hello from a container."* ]] || die "no greeting"
    say "the first call took $((ended - began)) s"
    began=${EPOCHREALTIME/[.,]/}
    second="$(./dev run --rm busybox echo again 2>&1 </dev/null)"
    ended=${EPOCHREALTIME/[.,]/}
    say "the second call took $(((ended - began) / 1000)) ms"
    [ "$second" = again ] || die "the second call printed: $second"
    [ "$(./dev run --rm busybox cat /proc/1/comm)" = cat ] || die "that was no container"
}

# A daemon keeps its bridge and rules when it stops, for the containers that go on.
remove_network() {
    ip link delete pinnace0 2>/dev/null || true
    PATH="$PATH:/usr/sbin" nft delete table ip pinnace 2>/dev/null || true
}

main() {
    [ "$(id -u)" = 0 ] || die "this needs root"
    command -v debootstrap >/dev/null || die "this needs debootstrap: apt install debootstrap"
    if [ "${1:-}" = --inside ]; then
        inside "$2"
        return
    fi
    [ ! -e /sys/class/net/pinnace0 ] || die "a daemon has pinnace0 here; stop it, delete the link"
    local directory="${1:-}"
    if [ -z "$directory" ]; then
        directory="$(mktemp -d /var/tmp/pinnace-fresh-XXXXXX)"
        # shellcheck disable=SC2064  # this very directory
        trap "remove_network; rm -rf --one-file-system '$directory'" EXIT
    else
        trap remove_network EXIT
    fi
    mkdir -p "$directory/tree"
    make_tree "$directory/tree"
    share_network_settings "$directory/tree"
    clone "$directory/tree"
    # Ending the first process of the namespace ends whatever the trial left running.
    unshare --mount --pid --fork --kill-child "$BASH" "${BASH_SOURCE[0]}" --inside \
        "$directory/tree"
}

main "$@"
