"""Tells what a program sees that has no distribution below it."""

import json
import os
import pwd
import ssl
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

zone = sys.argv[1]
with tempfile.NamedTemporaryFile() as written:
    temporary = Path(written.name).parent
print(
    json.dumps(
        {
            "user": pwd.getpwuid(os.getuid()).pw_name,
            "home": str(Path.home()),
            "cwd": str(Path.cwd()),
            "zone": datetime(2024, 7, 1, tzinfo=ZoneInfo(zone)).strftime("%Z %z"),
            "authorities": len(ssl.create_default_context().get_ca_certs()),
            "temporary": str(temporary),
            "programs": sorted(path.name for path in Path("/usr/bin").iterdir()),
            "shell": Path("/bin/sh").exists(),
        }
    )
)
