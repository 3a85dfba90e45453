"""Whether and when an ended container is started again; pure. Rules: dockerd's."""

from dataclasses import dataclass

from pinnace.model.container import RestartPolicy

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 60.0
HEALTHY_RUN_NS = 10_000_000_000  # a run this long resets the delay


def wants_restart(
    policy: RestartPolicy, *, exit_code: int, restarts: int, manually_stopped: bool
) -> bool:
    """Whether a container that just ended is to be started again.

    Args:
        policy: Of the container.
        exit_code: Of the run that ended.
        restarts: How often the policy has restarted it since the last manual start.
        manually_stopped: `stop` or `kill` was asked for.
    """
    if manually_stopped:
        return False
    match policy.name:
        case "always" | "unless-stopped":
            return True
        case "on-failure":
            most = policy.maximum_retry_count
            return exit_code != 0 and (most == 0 or restarts < most)
        case _:
            return False


def wants_start_at_boot(policy: RestartPolicy, *, exit_code: int, manually_stopped: bool) -> bool:
    """Whether a stopped container is started when the daemon boots (after a reboot)."""
    if policy.name == "always":
        return True
    if policy.name == "unless-stopped":
        return not manually_stopped
    return policy.name == "on-failure" and exit_code != 0 and not manually_stopped


@dataclass(slots=True)
class Backoff:
    """The growing delay between restarts of one container."""

    delay_s: float = 0.0

    def next(self, run_ns: int) -> float:
        """Return seconds to wait after a run of `run_ns` nanoseconds."""
        if self.delay_s == 0 or run_ns > HEALTHY_RUN_NS:
            self.delay_s = FIRST_DELAY_S
        else:
            self.delay_s = min(self.delay_s * 2, LONGEST_DELAY_S)
        return self.delay_s
