"""The watermark: 48 bits in the sound itself, which find the credential when the metadata is gone.

`service.watermark.embedding.embed` writes it, `service.watermark.detection.detect` reads it. Both
are numpy and scipy alone, so that the API's limited child and the workers share one room.
"""
