"""What a registry has under a reference (API 1.56, `DistributionInspect`)."""

from msgspec import field

from pinnace.model.record import Record
from pinnace.oci.descriptor import DescriptorPlatform


class DistributionDescriptor(Record, frozen=True, kw_only=True, rename="camel"):
    """The manifest or index."""

    media_type: str
    digest: str
    size: int


class Distribution(Record, frozen=True, kw_only=True):
    """The manifest or index, and what runs it."""

    descriptor: DistributionDescriptor
    platforms: list[DescriptorPlatform] = field(default_factory=list)
