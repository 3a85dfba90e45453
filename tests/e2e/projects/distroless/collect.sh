#!/bin/sh
# Copy Python, the libraries it needs, certificates and time zones into a directory; no shell, no
# package manager.
set -eu
root=$1
python=$(readlink -f /usr/bin/python3)
library=/usr/lib/$(basename "$python")

libraries() {
    ldd "$python" "$library"/lib-dynload/*.so | grep --only-matching '/[^ ]*\.so[^ ]* (' |
        cut --delimiter=' ' --fields=1 | sort --unique
}

mkdir -p "$root"
libraries | xargs cp --parents --dereference --target-directory="$root"
cp --archive --parents "$python" /usr/bin/python3 "$library" /usr/share/zoneinfo \
    /etc/ssl/certs/ca-certificates.crt "$root"
find "$root$library" -depth \( -name __pycache__ -o -name test -o -name ensurepip \) \
    -exec rm -r {} +
install --directory --mode=1777 "$root/tmp"
install --directory --owner=65532 --group=65532 "$root/home/nonroot"
