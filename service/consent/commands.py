"""`reprise keys` and `reprise sign`: a party's own key, which the service never sees."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64decode
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.auth.custody import Custody
from service.catalog.party_keys import reseal, sealers
from service.catalog.possession import registration_proof, rotation_statements
from service.consent.mandates.payload import MandatePayload, mandate_reference
from service.consent.plain_words import Reading, Unreadable, read
from service.consent.signatures import MANDATE_TYPE, TRAINING_TYPE, sign_payload
from service.database import Database
from service.settings import get_settings

MOST_BYTES = 8 * 1024 * 1024

app = typer.Typer(no_args_is_help=True)
err = Console(stderr=True, highlight=False)
KeyFile = Annotated[Path, typer.Argument(help="A file with an Ed25519 private key (JWK).")]


@app.command("new")
def new_key(
    file: Annotated[Path, typer.Argument(help="Where the private key is written (mode 0600).")],
) -> None:
    """Make a key to sign with, in a file of your own; an existing file is never overwritten."""
    made = OKPKey.generate_key("Ed25519", auto_kid=True)
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise _refused(f"{file} exists already; a key is never overwritten") from None
    except OSError as error:
        raise _refused(f"{file} cannot be written: {error.strerror}") from None
    with os.fdopen(handle, "w") as sink:
        os.fchmod(handle, 0o600)
        json.dump(made.as_dict(private=True), sink)
        sink.write("\n")
    _print({"public_key": _public(made), "kid": made.thumbprint()})
    err.print("Keep a copy of the file where only you reach it: whoever has it signs as you.")


@app.command("proof")
def prove(
    file: KeyFile,
    subject: Annotated[str, typer.Option(help="The `sub` of the bearer token you register with.")],
) -> None:
    """Print the key and its proof for `POST /v1/parties`; the proof holds for ten minutes."""
    key = load_key(file)
    _print({"public_key": _public(key), "proof": registration_proof(key, subject)})


@app.command("replace")
def replace(
    file: Annotated[Path, typer.Argument(help="The new key's file.")],
    party: Annotated[str, typer.Option(help="Your party's id.")],
    old: Annotated[Path | None, typer.Option(help="The present key's file.")] = None,
    old_kid: Annotated[
        str | None, typer.Option(help="The present key's kid, where it is lost or in custody.")
    ] = None,
) -> None:
    """Print what `POST /v1/parties/{id}/keys` wants (or, without --old, a recovery).

    It holds for ten minutes.
    """
    new, present = load_key(file), load_key(old) if old else None
    kid = present.thumbprint() if present else old_kid
    if kid is None or (present is not None and old_kid not in (None, kid)):
        raise _refused("name the present key: its file (--old), or its kid (--old-kid)")
    _print({"public_key": _public(new), **rotation_statements(present, new, party, kid)})


@app.command("reseal")
def reseal_keys(
    new: Annotated[
        bool, typer.Option("--new", help="Put a fresh key-encryption key first.")
    ] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Then drop those that seal nothing any more.")
    ] = False,
) -> None:
    """Encrypt the keys that the service keeps with the first key-encryption key (an operator)."""
    settings = get_settings()
    custody, database = Custody(settings), Database(settings.database)
    if new:
        custody.renew()
    with database.transaction() as session:
        count = reseal(session, custody)
    err.print(f"{count} keys sealed anew by {custody.sealing}")
    if forget:
        with database.snapshot() as session:
            used = sealers(session)
        err.print(f"{custody.forget(used)} key-encryption keys forgotten")
    database.dispose()


def sign(
    document: Annotated[
        Path, typer.Argument(help="A grant, training grant or mandate, as the service gave it.")
    ],
    key: Annotated[Path, typer.Option(help="Your private key's file.")],
    out: Annotated[
        Path | None, typer.Option(help="Where the signature is written; default: printed.")
    ] = None,
    mandate: Annotated[
        Path | None, typer.Option(help="The mandate under which you sign for another.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Show in plain words what a document says, and sign it with your own key.

    Post what it writes to `…/signatures` (a mandate's to `…/signature`).
    """
    payload = load_payload(document)
    reading = _read(payload, document)
    own = load_key(key)
    reference, behalf = None, None
    if mandate is not None:
        given = load_payload(mandate)
        reference, behalf = _mandate(_read(given, mandate), given, reading)
    show(reading, own, behalf)
    if not yes and not typer.confirm("Sign this?", err=True):
        raise _refused("nothing was signed")
    signed: dict[str, str] = sign_payload(payload, own, reading.kind, reference)
    if behalf is not None:
        signed["on_behalf_of"] = behalf
    if out is None:
        _print(signed)
        return
    _write(out, signed, unlike=[document, key, *([mandate] if mandate else [])])
    err.print(f"Signed; the signature is in {out}", markup=False)


def show(reading: Reading, key: OKPKey, behalf: str | None) -> None:
    """Print a document's words to the terminal, and who signs it."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for label, words in reading.lines:
        table.add_row(Text(label), Text(words))
    for signer in reading.signers:
        mine = signer.kid == key.thumbprint() or signer.party == behalf
        table.add_row("Signs", Text(f"{signer.name} ({signer.party})" + (", you" if mine else "")))
    table.add_row("SHA-256", Text(reading.sha256))
    err.print(Text(reading.title, style="bold"))
    err.print(table)
    if behalf is not None:
        err.print(Text(f"You sign for {behalf}, under its mandate."))
    elif key.thumbprint() not in {signer.kid for signer in reading.signers}:
        err.print(
            Text(
                "Your key is none of those the document was made for. That is right only if "
                "you changed your key since.",
                style="bold red",
            )
        )


def load_payload(file: Path) -> bytes:
    """The bytes to sign: of the service's answer its `payload`, or else the file's own."""
    content = _content(file)
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        raise _refused(f"{file} holds no JSON") from None
    if isinstance(answer, dict) and isinstance(answer.get("payload"), str):
        try:
            return urlsafe_b64decode(answer["payload"].encode("ascii"))
        except ValueError:
            raise _refused(f"the payload in {file} is not base64url") from None
    return content


def load_key(file: Path) -> OKPKey:
    """The Ed25519 private key in a file that only its owner reads."""
    content = _content(file)
    if os.name == "posix" and file.stat().st_mode & 0o077:
        err.print(Text(f"Others can read {file}; `chmod 600` it.", style="bold red"))
    try:
        key = OKPKey.import_key(json.loads(content))
    except (ValueError, TypeError, KeyError, JoseError, RecursionError):
        # Never with the content: it is the secret.
        raise _refused(f"{file} holds no key (JWK, RFC 8037)") from None
    if key.curve_name != "Ed25519" or not key.is_private:
        raise _refused(f"{file} holds no Ed25519 private key")
    return key


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as source:
            content = source.read(MOST_BYTES + 1)
    except OSError as error:
        raise _refused(f"{file} cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise _refused(f"{file} is larger than {MOST_BYTES:,} bytes")
    return content


def _write(out: Path, signed: dict[str, str], *, unlike: list[Path]) -> None:
    # The key's only copy may be the file that was just read.
    if out.exists() and any(out.samefile(read) for read in unlike):
        raise _refused(f"{out} was read for this; write the signature to another file")
    try:
        out.write_text(json.dumps(signed, indent=1) + "\n")
    except OSError as error:
        raise _refused(f"{out} cannot be written: {error.strerror}") from None


def _read(payload: bytes, file: Path) -> Reading:
    try:
        return read(payload)
    except Unreadable as error:
        raise _refused(f"{file} is not to be signed: {error}") from None


def _mandate(given: Reading, payload: bytes, wanted: Reading) -> tuple[str, str]:
    document = given.document
    if not isinstance(document, MandatePayload) or wanted.kind == MANDATE_TYPE:
        raise _refused("--mandate names a mandate, and a mandate is signed by its grantor alone")
    purpose = "training" if wanted.kind == TRAINING_TYPE else "remix"
    if purpose not in document.purposes:
        raise _refused(f"the mandate is not for {purpose}")
    if document.grantor.party not in {signer.party for signer in wanted.signers}:
        raise _refused(f"{document.grantor.name} does not have to sign this document")
    return mandate_reference(document.jti, payload), document.grantor.party


def _public(key: OKPKey) -> dict[str, Any]:
    return {name: value for name, value in key.as_dict(private=False).items() if name != "kid"}


def _print(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, indent=1))


def _refused(words: str) -> typer.Exit:
    err.print(Text(words, style="bold red"))
    return typer.Exit(1)
