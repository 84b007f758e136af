"""The schema of config.yaml's section viewer: where the live page listens, and who may see it."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from framecap.config.fields import Section, Text

MIN_TOKEN = 16  # characters; nobody guesses that many


class ViewerConfig(Section):
    """framecap view."""

    host: Text = Field("127.0.0.1", description="address to listen on; another than this machine's own needs a token")
    port: int = Field(8080, ge=0, le=65_535, description="0: a free one")
    token: SecretStr | None = Field(None, description="who gives it sees the page; null: nobody is asked")

    @field_validator("token")
    @classmethod
    def _not_to_be_guessed(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and not (len(token.get_secret_value()) >= MIN_TOKEN and token.get_secret_value().isprintable()):
            raise ValueError(  # whose first word is masked: it stands behind the setting's name
                f"this is not enough: {MIN_TOKEN} or more printable characters are needed; `openssl rand -hex 16` makes some"
            )
        return token
