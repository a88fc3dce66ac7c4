"""Which signature algorithms a verifier accepts: public-key ones that it names, nothing else."""

from joserfc.errors import UnsupportedAlgorithmError
from joserfc.jws import JWSAlgModel, JWSRegistry


class PublicKeyAlgorithms(JWSRegistry):
    """An allow-list for verifying (RFC 8725 section 3.1).

    `none` and the HMAC family can never be on it: with them, whoever knows a public key could
    sign. (joserfc's own allow-list means "the recommended ones, HS256 among them" when empty, and
    warns at every use of the name `EdDSA`, which issuers still write.)
    """

    def __init__(self, *names: str) -> None:
        if not names or any(name == "none" or name.startswith("HS") for name in names):
            raise ValueError("an allow-list names public-key algorithms")
        super().__init__(algorithms=names)
        self._names = frozenset(names)

    def get_alg(self, name: str) -> JWSAlgModel:
        """The algorithm called `name`; raises joserfc's `UnsupportedAlgorithmError`."""
        if not isinstance(name, str) or name not in self._names:
            raise UnsupportedAlgorithmError("the token's algorithm is not accepted here")
        return self.algorithms[name]
