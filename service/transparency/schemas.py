"""The log on the wire."""

from datetime import datetime

from pydantic import BaseModel, Field


class LogAnswer(BaseModel):
    """Who the log is, and where it stands."""

    origin: str = Field(description="The log's name, the first line of its checkpoints.")
    verifier_keys: list[str] = Field(
        description="Verifier keys (`name+id+key`, C2SP signed-note); each signs every checkpoint. "
        "Keep one: a key that was read here proves nothing about what is read here."
    )
    size: int = Field(description="Entries that the newest checkpoint covers.")
    root: str = Field(description="Their root, base64.")
    signed_at: datetime
    waiting: int = Field(description="Entries that are recorded and not signed yet.")
    oldest_waiting_seconds: float
    max_merge_delay_seconds: int = Field(
        description="Within so many seconds an entry is signed, while the service runs."
    )


class LogEntryAnswer(BaseModel):
    """One entry: hash `leaf` (base64) behind a zero byte, and you have `leaf_hash` (hex)."""

    index: int
    leaf: str
    leaf_hash: str


class LogEntryList(BaseModel):
    """Entries in the tree's order, and the size up to which they are signed."""

    size: int
    items: list[LogEntryAnswer]


class InclusionAnswer(BaseModel):
    """That a leaf is in the tree of `size` (RFC 9162 section 2.1.3); hashes are base64."""

    index: int
    size: int
    proof: list[str]


class ConsistencyAnswer(BaseModel):
    """That the tree of `second` begins with that of `first` (RFC 9162 section 2.1.4)."""

    first: int
    second: int
    proof: list[str]


class EntryProof(BaseModel):
    """What was recorded about a grant, with its proof (C2SP tlog-proof text)."""

    type: str
    at: datetime
    index: int
    proof: str


class EntryProofs(BaseModel):
    """Everything the log holds about one grant; `waiting` more are not signed yet."""

    items: list[EntryProof]
    waiting: int
