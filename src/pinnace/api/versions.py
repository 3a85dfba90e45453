"""Versions of the API: which exist, what each brought, and how they are written.

Versions compare by parts: 1.9 is older than 1.10. Nothing below `pinnace.api` knows them.
"""

import re
from typing import NamedTuple


class Version(NamedTuple):
    """A version of the API, ordered by its parts."""

    major: int
    minor: int

    @property
    def text(self) -> str:
        """As written in paths and headers."""
        return f"{self.major}.{self.minor}"


_TEXT = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})", re.ASCII)


def parse_version(text: str) -> Version | None:
    """Return the version written as `major.minor`, or None when `text` is something else."""
    match = _TEXT.fullmatch(text)
    return Version(int(match[1]), int(match[2])) if match else None


SUMMARIES: dict[Version, str] = {
    Version(1, minor): summary
    for minor, summary in enumerate(
        (
            "28 calls; pull, push and insert stream text; the registry login is on the server.",
            "Pull, push and insert stream JSON objects; export is a tar.",
            "Credentials belong to the client; image delete answers with a list; sizes in lists.",
            "Process list, events, host config at start, builds from a plain tar.",
            "Process list with titles and ps arguments; copying files out of containers.",
            "Ports in the container list are objects; credentials travel in a header.",
            "Attached output without a terminal is framed by stream.",
            "One entry per image with all its tags; images are saved and loaded.",
            "Build output is a JSON stream; inspect shows the host config.",
            "Build credentials are a map of registries.",
            "Force on container and image delete; noprune on image delete.",
            "Ping and container logs; events end at a time.",
            "Inspect keys are CamelCase; pause and unpause.",
            "Start and stop answer 304 when nothing changes; commit pauses by default.",
            "Capabilities can be added and dropped; references carry their tag in one word.",
            "Host config at create; exec; saving several images at once.",
            "Exec inspect; processor, memory and name of the host; volumes are made at create.",
            "Labels; stats; rename; read-only root file systems.",
            "Ulimits, cgroup parents and log drivers; digests of repositories.",
            "Flags in the host information are booleans; a version mismatch is status 400.",
            "Archive calls for files in containers; inspect lists mounts.",
            "Networks and volumes are resources; stats show every interface.",
            "Container update; events name their type, action and actor.",
            "State and mounts in the container list; limits on processes; load streams JSON.",
            "Errors are JSON; start takes no body; swarm, nodes, services and tasks.",
            "Prune calls and disk usage; mounts, init and auto-remove; secrets and plugins.",
            "Plugins can be upgraded.",
            "Stats show the number of processors online.",
            "The network list omits containers; binary frames on websockets.",
            "Start periods of health checks; label filters on prune.",
            "Wait takes a condition and answers its head at once; configs; registry lookups.",
            "Build sessions; creation times of volumes, tag times of images.",
            "Platform on pull and build; private and shareable IPC.",
            "Event filters for swarm objects.",
            "Wait reports a failed removal.",
            "Logs end at a time; working directory of execs; components in the version.",
            "The end of an exec is an event.",
            "SCTP ports; build targets.",
            "Masked and read-only paths can be chosen.",
            "Warnings in the host information; build cache in the disk usage.",
            "Ping by HEAD; IPC namespaces are private by default; device requests.",
            "Private cgroup namespaces; platform at create; one-shot stats.",
            "Content types of streams; a stop signal per call; only anonymous volumes are pruned.",
            "Annotations; untagged images have empty lists.",
            "Recursive read-only binds; several networks at create; start intervals.",
            "Volume subpaths; image inspect drops the container it came from.",
            "Annotations in the list; creation of images is an event.",
            "Manifests in the image list.",
            "Image mounts; descriptors and manifests; gateway priorities.",
            "Platform on image inspect; firewall backend in the host information.",
            "Discovered devices; image inspect drops container-only settings.",
            "The image list counts containers.",
            "Legacy address fields and event fields are gone; usage objects in the disk usage.",
            "Resource interface of the node in the host information; identity of images.",
            "Addresses of endpoints are honoured on connect; identity in the image list.",
            "Attestations of images; device limits can be updated.",
            "Annotation filter on the container list; umask.",
        )
    )
}

OLDEST = min(SUMMARIES)
NEWEST = max(SUMMARIES)

LAST_OF_2013 = Version(1, 2)  # what a bare path means on a TCP listener
FIRST_JSON_ERRORS = Version(1, 24)
