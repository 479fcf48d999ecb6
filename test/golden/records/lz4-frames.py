"""LZ4 frames of the reference library in every form that a frame can have; prints the JSON beside this file.

    pip install lz4==4.4.5 && python lz4-frames.py > lz4-frames.json

The content of every frame is made by the formula that test/protocol/compression.test.ts repeats.
"""
import json
from base64 import b64encode

import lz4.frame


def content(size: int) -> bytes:
    state, out = 1, bytearray()
    while len(out) < size:
        state = (state * 1103515245 + 12345) % 2**31
        out += b"word%d " % (state >> 22) if state & 0x70000 == 0 else b"the same again "
    return bytes(out[:size])


cases = []
for size in (0, 1, 13, 1000, 70_000, 300_000):
    for linked in (False, True):
        for block_checksum in (False, True):
            for content_checksum in (False, True):
                if size > 1000 and block_checksum != content_checksum:
                    continue
                if size == 300_000 and not linked:
                    continue
                packed = lz4.frame.compress(
                    content(size),
                    block_size=lz4.frame.BLOCKSIZE_MAX64KB,
                    block_linked=linked,
                    block_checksum=block_checksum,
                    content_checksum=content_checksum,
                    store_size=content_checksum != linked,
                    compression_level=9 if linked else 0,
                )
                name = f"{size} bytes, {'linked' if linked else 'independent'}, checksums {block_checksum} {content_checksum}"
                cases.append({"name": name, "size": size, "packed": b64encode(packed).decode()})
print(json.dumps(cases, indent=0))
