"""Pulling: over real https from a real server, resumed, verified, and nothing kept when wrong."""

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from checkpoints import registry
from checkpoints.errors import (
    CheckpointHashMismatch,
    CheckpointLicence,
    CheckpointPickleRefused,
    CheckpointPullFailed,
    CheckpointUnsealed,
)
from checkpoints.pulling import pull

WriteCard = Callable[..., Path]


class Publisher:
    """An https server; `pages` maps paths to bodies, `moved` to addresses, `log` keeps ranges."""

    def __init__(self, folder: Path) -> None:
        self.pages: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        self.log: list[str | None] = []
        self.ranges = True
        key, certificate = _self_signed()
        pem = folder / "server.pem"
        pem.write_bytes(key + certificate)
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                publisher.log.append(asked)
                if self.path in publisher.moved:
                    self.send_response(302)
                    self.send_header("Location", publisher.moved[self.path])
                    self.end_headers()
                    return
                if self.path not in publisher.pages:
                    self.send_error(404)
                    return
                body = publisher.pages[self.path]
                if asked and publisher.ranges:
                    start = int(asked.removeprefix("bytes=").removesuffix("-"))
                    if start >= len(body):
                        self.send_error(416)
                        return
                    self.send_response(206)
                    body = body[start:]
                else:
                    self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.tls = ssl.create_default_context(cadata=certificate.decode())
        self.url = f"https://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def _self_signed() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "publisher")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return (
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        certificate.public_bytes(serialization.Encoding.PEM),
    )


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    running = Publisher(tmp_path)
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def card(write_card: WriteCard, publisher: Publisher, weights: bytes) -> registry.Card:
    write_card(
        "small",
        {"model.safetensors": weights},
        urls={"model.safetensors": publisher.url + "/model.safetensors"},
    )
    publisher.pages["/model.safetensors"] = weights
    return registry.card("small")


def kept(card: registry.Card) -> list[str]:
    folder = registry.folder(card)
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_pulled_checkpoint_opens(
    publisher: Publisher, card: registry.Card, weights: bytes
) -> None:
    seen: list[int] = []
    opened = pull("small", tls=publisher.tls, progress=lambda name, done, total: seen.append(done))
    assert opened.files["model.safetensors"].read_bytes() == weights
    assert registry.state(card) == "pulled"
    assert kept(card) == ["model.safetensors"]
    assert seen[-1] == len(weights)
    pull("small", tls=publisher.tls)
    assert len(publisher.log) == 1, "a second pull fetches nothing"


def test_it_goes_on_where_it_stopped(
    publisher: Publisher, card: registry.Card, weights: bytes
) -> None:
    folder = registry.folder(card)
    folder.mkdir(parents=True)
    (folder / "model.safetensors.part").write_bytes(weights[:5000])
    pull("small", tls=publisher.tls)
    assert publisher.log == ["bytes=5000-"]
    assert kept(card) == ["model.safetensors"]


def test_a_server_without_ranges_starts_over(
    publisher: Publisher, card: registry.Card, weights: bytes
) -> None:
    publisher.ranges = False
    folder = registry.folder(card)
    folder.mkdir(parents=True)
    (folder / "model.safetensors.part").write_bytes(b"rubbish")
    opened = pull("small", tls=publisher.tls)
    assert opened.files["model.safetensors"].read_bytes() == weights


@pytest.mark.attack("address in a checkpoint's card")
def test_a_wrong_hash_is_refused_and_nothing_is_kept(
    publisher: Publisher, card: registry.Card, weights: bytes
) -> None:
    publisher.pages["/model.safetensors"] = weights[:-1] + b"!"
    with pytest.raises(CheckpointHashMismatch, match="the card says"):
        pull("small", tls=publisher.tls)
    assert kept(card) == []


@pytest.mark.attack("address in a checkpoint's card")
def test_a_file_that_never_ends_is_cut(
    publisher: Publisher, card: registry.Card, weights: bytes
) -> None:
    publisher.pages["/model.safetensors"] = weights + b"\0" * (8 << 20)
    with pytest.raises(CheckpointHashMismatch, match="larger than"):
        pull("small", tls=publisher.tls)
    assert kept(card) == []


@pytest.mark.attack("address in a checkpoint's card")
@pytest.mark.parametrize(
    "elsewhere",
    ["http://127.0.0.1:1/m", "file:///etc/passwd", "ftp://example.org/m", "data:,m", "gopher://x/"],
)
def test_a_redirect_off_https_is_refused(
    publisher: Publisher, card: registry.Card, elsewhere: str
) -> None:
    publisher.moved["/model.safetensors"] = elsewhere
    with pytest.raises(CheckpointPullFailed, match=r"redirected to|could not be fetched"):
        pull("small", tls=publisher.tls)
    assert kept(card) in ([], ["model.safetensors.part"])


def test_an_unknown_server_certificate_is_refused(
    publisher: Publisher, card: registry.Card
) -> None:
    with pytest.raises(CheckpointPullFailed, match="certificate"):
        pull("small")


def test_no_such_file_says_what_to_do(publisher: Publisher, card: registry.Card) -> None:
    publisher.pages.clear()
    with pytest.raises(CheckpointPullFailed, match="--from FOLDER"):
        pull("small", tls=publisher.tls)


def test_from_a_folder(
    publisher: Publisher, card: registry.Card, weights: bytes, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").write_bytes(weights)
    opened = pull("small", source=tmp_path)
    assert opened.files["model.safetensors"] != tmp_path / "model.safetensors"
    assert publisher.log == []


def test_from_a_file_url(write_card: WriteCard, weights: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(weights)
    write_card(
        "local",
        {"model.safetensors": weights},
        urls={"model.safetensors": (tmp_path / "w.safetensors").as_uri()},
    )
    assert pull("local").files["model.safetensors"].read_bytes() == weights


@pytest.mark.attack("address in a checkpoint's card")
def test_a_pickle_is_refused_before_anything_is_fetched(
    write_card: WriteCard, publisher: Publisher
) -> None:
    write_card("pickled", {"model.th": b"x"}, urls={"model.th": publisher.url + "/model.th"})
    with pytest.raises(CheckpointPickleRefused):
        pull("pickled", tls=publisher.tls)
    assert publisher.log == []


def test_a_non_commercial_licence_must_be_accepted(
    write_card: WriteCard, publisher: Publisher, weights: bytes
) -> None:
    publisher.pages["/m"] = weights
    write_card(
        "small",
        {"model.safetensors": weights},
        urls={"model.safetensors": publisher.url + "/m"},
        licence="CC-BY-NC-4.0",
        commercial=False,
    )
    with pytest.raises(CheckpointLicence, match="--non-commercial"):
        pull("small", tls=publisher.tls)
    assert publisher.log == []
    assert pull("small", tls=publisher.tls, non_commercial=True).card.name == "small"


def test_without_a_pinned_hash_nothing_is_fetched(
    write_card: WriteCard, publisher: Publisher
) -> None:
    write_card(
        "small",
        {"model.safetensors": None},
        urls={"model.safetensors": publisher.url + "/model.safetensors"},
    )
    with pytest.raises(CheckpointUnsealed, match="REPRISE_CARDS"):
        pull("small", tls=publisher.tls)
    assert publisher.log == []
