"""The resident process that owns containers' standard streams, exits and logs.

Standard library only, and nothing of ours but this package: it starts in milliseconds, stays
small, and a broken dependency of the daemon cannot take the containers with it. `logs.py` and
`protocol.py` are also imported by the daemon's side (`pinnace.host.runtime.monitor`).
"""
