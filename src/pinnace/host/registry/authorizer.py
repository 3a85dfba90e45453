"""What one registry is shown on behalf of one user, by what it asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pinnace.contracts.registry import Credentials
from pinnace.errors import RegistryUnauthorized
from pinnace.host.registry.challenge import Challenge
from pinnace.host.registry.endpoints import Endpoint
from pinnace.host.registry.tokens import TokenAsk, TokenStore, basic_authorization

NO_BASIC_CREDENTIALS = "no basic auth credentials"


@dataclass(frozen=True, slots=True)
class Proof:
    """A value of `Authorization`, and for which token it stands; "": nothing is shown."""

    header: str = field(default="", repr=False)
    ask: TokenAsk | None = None


class Authorizer:
    """Proves who asks.

    Args:
        endpoint: The registry.
        credentials: Whose; must be anonymous for a mirror.
        tokens: Where tokens come from.
    """

    def __init__(self, endpoint: Endpoint, credentials: Credentials, tokens: TokenStore) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        self._tokens = tokens
        self._challenges: Sequence[Challenge] = ()

    def learn(self, challenges: Sequence[Challenge]) -> None:
        """Take what the registry asks for."""
        if challenges:
            self._challenges = challenges

    async def prove(self, scopes: tuple[str, ...]) -> Proof:
        """Return what to show for a request that needs `scopes`.

        Raises:
            RegistryUnauthorized: There is nothing to show, or the token server refuses it.
        """
        schemes = {challenge.scheme: challenge for challenge in self._challenges}
        if "bearer" in schemes:
            return await self._bearer(schemes["bearer"], scopes)
        if "basic" in schemes:
            if not self._credentials.username:
                raise RegistryUnauthorized(NO_BASIC_CREDENTIALS)
            return Proof(basic_authorization(self._credentials))
        return Proof()

    def refused(self, proof: Proof, challenges: Sequence[Challenge]) -> bool:
        """Take that a proof was refused; return whether another one can be made."""
        self.learn(challenges)
        if proof.ask is not None:
            self._tokens.forget(proof.ask, proof.header.removeprefix("Bearer "))
            errors = {challenge.parameters.get("error") for challenge in challenges}
            return "insufficient_scope" not in errors
        return not proof.header and bool(self._challenges)

    async def _bearer(self, challenge: Challenge, scopes: tuple[str, ...]) -> Proof:
        if self._credentials.registry_token:
            return Proof(f"Bearer {self._credentials.registry_token}")
        ask = self.ask_of(challenge, scopes)
        token = await self._tokens.get(ask, self._endpoint)
        return Proof(f"Bearer {token.value}", ask)

    def ask_of(self, challenge: Challenge, scopes: tuple[str, ...]) -> TokenAsk:
        """Return what to ask the token server of a challenge for."""
        return TokenAsk(
            challenge.parameters.get("realm", ""),
            challenge.parameters.get("service", ""),
            tuple(sorted(set(scopes))),
            self._credentials,
        )

    @property
    def challenges(self) -> Sequence[Challenge]:
        """What the registry asked for last."""
        return self._challenges
