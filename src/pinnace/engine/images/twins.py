"""Layers that are wanted on another stack than the one they are committed on."""

from pinnace.contracts.content import Content
from pinnace.contracts.snapshots import Snapshots
from pinnace.oci.chain import ChainId
from pinnace.oci.digest import Digest


def stage_twin(snapshots: Snapshots, content: Content, twin: ChainId, diff_id: Digest) -> None:
    """Stage the content of a committed layer once more; blocks. The caller holds `twin`.

    Raises:
        NotFound: It is not committed.
        Internal: It is damaged, or cannot be stored.
    """
    with content.spool(lambda sink: snapshots.export_layer(twin, None, sink)) as spooled:
        spooled.file.seek(0)
        snapshots.stage_layer(spooled.file, diff_id=diff_id)
