"""What the daemon does about images beside its calls: sweeps, and the policy for full disks."""

import asyncio
import functools
import logging
from pathlib import Path

from pinnace.daemon.config import Config
from pinnace.engine.images.service import ImageService
from pinnace.errors import PinnaceError
from pinnace.host.disk import percent_used

log = logging.getLogger(__name__)

_FIRST_S = 10.0  # after the start, when containers have been started
_ROUND_S = 60.0
_ROUNDS_PER_SWEEP = 60


async def keep_images(
    images: ImageService, config: Config, *, first_s: float = _FIRST_S, round_s: float = _ROUND_S
) -> None:
    """Sweep once in 60 rounds and keep the disk below its mark, until cancelled.

    Args:
        images: What is kept.
        config: Says how full the disk may be.
        first_s: When the first round is.
        round_s: When the next one is.
    """
    policy = images.disk_policy(
        threshold=config.image_gc_threshold,
        disk_used=functools.partial(percent_used, Path(config.data_root)),
    )
    rounds = 0
    await asyncio.sleep(first_s)
    while True:
        try:
            if rounds % _ROUNDS_PER_SWEEP == 0:
                freed = await images.library.sweep()
                if freed:
                    log.info("swept what no image needs", extra={"reclaimed_bytes": freed})
            await policy.apply()
        except (PinnaceError, OSError) as exc:
            log.error("cannot sweep images: %s", exc)  # noqa: TRY400
        rounds += 1
        await asyncio.sleep(round_s)
