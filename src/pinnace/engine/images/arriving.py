"""Layers of an archive that are unpacked while it comes in, so that no copy of them is kept.

What a layer stands on, and whether an image wants it at all, is known when the whole archive is
there: until then it is staged, as a layer that is pulled.
"""

import posixpath
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from pinnace.contracts.content import Content
from pinnace.contracts.snapshots import ByteSource, LayerStat, Snapshots
from pinnace.engine.images.bridge import Message
from pinnace.engine.images.leases import Leases
from pinnace.engine.images.progress import Meter
from pinnace.engine.images.twins import stage_twin
from pinnace.errors import InvalidParameter, NotFound, Unavailable
from pinnace.oci.chain import ChainId
from pinnace.oci.digest import Digest

# Archives of today call a layer by its digest, those before by an id of the same form.
_DIGITS = re.compile(r"[0-9a-f]{64}")
_SHORT_ID = 12


class ArrivingLayers:
    """The layers of one archive. All methods block: call them in a worker.

    Whatever comes of it, `drop` is called at the end.

    Args:
        snapshots: Stages them.
        content: Keeps a layer for a while that is wanted twice.
        known: Layers that are here, by diff id.
        leases: Keeps staged layers from being removed.
        show: Takes messages that may be dropped.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        content: Content,
        *,
        known: Mapping[Digest, ChainId],
        leases: Leases,
        show: Callable[[Message], None],
    ) -> None:
        self._snapshots = snapshots
        self._content = content
        self._known = known
        self._leases = leases
        self._show = show
        self._found: dict[str, LayerStat | InvalidParameter] = {}
        self._placed: dict[Digest, ChainId] = {}
        self._held = ExitStack()

    def drop(self) -> None:
        """Remove what no image wanted, and nobody else waits for.

        The lowest layer's chain id is its diff id, so whoever still holds the chain holds this.
        """
        self._held.close()
        for stat in self._found.values():
            if isinstance(stat, LayerStat):
                self._leases.unless_held(stat.diff_id, self._snapshots.remove_staged)

    def take(self, name: str, size: int, source: ByteSource) -> bool:
        """Unpack a file of the archive that begins like a tar; see `Content.receive_archive`.

        One that is called by the digest of a layer which is here is left alone. One that is
        broken counts only if an image wants it.

        Raises:
            Internal: The host failed, for example for lack of space.
        """
        digits = _DIGITS.search(name)
        if digits and f"sha256:{digits[0]}" in self._known:
            return False
        label = digits[0][:_SHORT_ID] if digits else posixpath.basename(name)
        reader = Metered(source, Meter(self._show, "Loading layer", label, size))
        try:
            stat = self._snapshots.stage_layer(reader)
        except InvalidParameter as exc:
            self._found[name] = exc
            return True
        self._held.enter_context(self._leases.hold([stat.diff_id]))
        self._found[name] = stat
        return True

    def find(self, name: str) -> LayerStat | None:
        """Return what unpacking found; None: it was not unpacked.

        Raises:
            InvalidParameter: The layer is broken or hostile.
        """
        found = self._found.get(name)
        if isinstance(found, InvalidParameter):
            raise found
        return found

    def place(self, diff_id: Digest, parent: ChainId | None, chain: ChainId) -> None:
        """Commit an unpacked layer on top of `parent`, where it becomes `chain`.

        Raises:
            Unavailable: Somebody else has used it up at this moment.
        """
        try:
            self._snapshots.adopt_layer(parent, diff_id)
        except NotFound:
            if not self._snapshots.has_layer(chain):
                self._stage_again(diff_id)
                self._snapshots.adopt_layer(parent, diff_id)
        self._placed[diff_id] = chain

    def _stage_again(self, diff_id: Digest) -> None:
        """Stage a layer that is committed on another stack."""
        twin = self._placed.get(diff_id) or self._known.get(diff_id)
        if twin is None:
            raise Unavailable(f"layer {diff_id} is being pulled or loaded; please try again")
        with self._leases.hold([twin]):
            stage_twin(self._snapshots, self._content, twin, diff_id)


class Metered:
    """A file that shows how far it was read."""

    def __init__(self, file: ByteSource, meter: Meter) -> None:
        self._file = file
        self._meter = meter

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes."""
        data = self._file.read(size)
        if data:
            self._meter.add(len(data))
        return data
