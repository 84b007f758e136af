"""The decoder pool under the name that programs written for earlier releases import: see framecap.decoding.pool."""

from framecap.decoding.pool import DecodedFrame, DecoderPool, DecoderSettings

__all__ = ["DecodedFrame", "DecoderPool", "DecoderSettings"]
