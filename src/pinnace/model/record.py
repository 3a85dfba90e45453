"""Base of the records that travel over the wire and into the store."""

from typing import NewType

import msgspec

ContainerId = NewType("ContainerId", str)  # 64 hex digits
ExecId = NewType("ExecId", str)  # 64 hex digits
ImageId = NewType("ImageId", str)  # config digest, "sha256:<hex>"


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A frozen struct whose fields are spelled on the wire as Docker spells them.

    Changed by `msgspec.structs.replace`. Subclasses repeat `frozen` and `kw_only`, which msgspec
    does not inherit. A field whose wire spelling is not the plain PascalCase of its Python name
    says so with `msgspec.field(name=...)`.
    """
