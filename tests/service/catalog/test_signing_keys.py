"""Keys a party may register: Ed25519 public keys that only their owner can sign with."""

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.util import urlsafe_b64encode
from pydantic import ValidationError

from service.catalog.signing_keys import _SMALL_ORDER, PublicKey

GOOD = OKPKey.generate_key("Ed25519").as_dict(private=False)


def test_the_kid_is_the_rfc_7638_thumbprint() -> None:
    # The key and thumbprint of RFC 8037, appendix A.3.
    key = PublicKey(kty="OKP", crv="Ed25519", x="11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
    assert key.thumbprint() == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize(
    "jwk",
    [
        OKPKey.generate_key("Ed25519").as_dict(private=True),
        OKPKey.generate_key("Ed448").as_dict(private=False),
        OKPKey.generate_key("X25519").as_dict(private=False),
        ECKey.generate_key("P-256").as_dict(private=False),
        RSAKey.generate_key(2048).as_dict(private=False),
        {"kty": "oct", "k": "c2VjcmV0"},
        {**GOOD, "x": str(GOOD["x"])[:-1]},
        {**GOOD, "kid": "mine"},
        {**GOOD, "jku": "https://example.org"},
        {},
    ],
)
def test_other_keys_are_refused(jwk: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PublicKey.model_validate(jwk)


@pytest.mark.parametrize("point", sorted(_SMALL_ORDER), ids=lambda point: point.hex()[:8])
@pytest.mark.parametrize("sign_bit", [0, 0x80])
@pytest.mark.attack("stolen or lost key")
def test_keys_anybody_could_sign_with_are_refused(point: bytes, sign_bit: int) -> None:
    encoded = point[:31] + bytes([point[31] | sign_bit])
    with pytest.raises(ValidationError, match="small order"):
        PublicKey(kty="OKP", crv="Ed25519", x=urlsafe_b64encode(encoded).decode())


def test_the_list_is_the_curves_torsion() -> None:
    """Each listed point, decoded on the curve (RFC 8032, 5.1.3), is neutral after three doublings.

    The last two are the non-canonical encodings of 0 and 1; of ordinary points none passes.
    """
    for point in _SMALL_ORDER:
        assert _eight_times(int.from_bytes(point, "little") % P) == (0, 1)
    base_y = 4 * pow(5, -1, P) % P
    assert _eight_times(base_y) != (0, 1)


P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def _eight_times(y: int) -> tuple[int, int]:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert x * x % P == square, "not on the curve"
    for _ in range(3):
        product = D * x * x * y * y % P
        x, y = (
            2 * x * y * pow(1 + product, -1, P) % P,
            (y * y + x * x) * pow(1 - product, -1, P) % P,
        )
    return x, y
