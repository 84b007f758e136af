"""The schema of config.yaml's section events: rules over captions, and what each of them does."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from framecap.config.fields import Fraction, PositiveSeconds, Section, Text, whole_number_as_text

MAX_RULES = 100

Secret = Annotated[SecretStr, Field(min_length=1), BeforeValidator(whole_number_as_text)]
Words = Annotated[Text, Field(pattern=r"\S")]
TimeOfDay = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")]


class WhenConfig(Section):
    """Which captions: those for which all that is given here holds."""

    words: tuple[Words, ...] = Field((), strict=False, max_length=1000, description="any of them, whole, in any case")
    cameras: tuple[Text, ...] = Field((), strict=False, max_length=1000, description="any of these patterns (door*)")
    statuses: tuple[Literal["captioned", "duplicate", "skipped", "failed"], ...] = Field(
        ("captioned", "duplicate"), strict=False, min_length=1
    )
    confidence: Fraction | None = Field(None, description="at least")
    between: TimeOfDay | None = Field(None, description="time of day, such as 22:00-06:00; the end is not in it")
    time_zone: Text | None = Field(None, description="of between, such as Europe/Berlin; null: this machine's")
    expression: Text | None = Field(None, max_length=10_000, description="a CEL expression that is true")
    cooldown_minutes: float | None = Field(
        None, gt=0, le=1_000_000, description="only the first one of a camera after so long without any"
    )


class WebhookConfig(Section):
    """A POST of the event as JSON, signed as Standard Webhooks says."""

    url: Secret = Field(description="http:// or https://; shown without its path: some hold a password there")
    secret: Secret | None = Field(None, description="of the signature; null: not signed")

    @model_validator(mode="after")
    def _an_address(self) -> WebhookConfig:
        if not self.url.get_secret_value().startswith(("http://", "https://", "${")):
            raise ValueError("webhook.url: http:// or https:// is expected")
        return self


class MqttConfig(Section):
    """A message to an MQTT broker, with quality of service 1."""

    host: Text
    port: int = Field(1883, ge=1, le=65_535)
    topic: Text = Field("framecap/{camera}/{rule}", max_length=1000)
    username: Text | None = None
    password: Secret | None = None
    tls: bool = False
    ca: Text | None = Field(None, description="file of the certificates that are trusted; null: the system's")
    retain: bool = Field(False, description="the broker keeps the last message of a topic for who comes later")

    @model_validator(mode="after")
    def _fits(self) -> MqttConfig:
        if self.password is not None and self.username is None:
            raise ValueError("mqtt.password needs a username")
        if any(sign in self.topic for sign in "+#\0"):
            raise ValueError("mqtt.topic: a topic to publish to has no + and no #")
        return self


class SnsConfig(Section):
    """A message to a topic of SNS, as store.s3's region and profile say."""

    topic: str = Field(pattern=r"^arn:[a-z-]+:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_.-]+$", description="its ARN")


class SqsConfig(Section):
    """A message to a queue of SQS, as store.s3's region and profile say."""

    queue: str = Field(pattern=r"^https?://[^\s/@]+/\S+$", description="its URL")


class CommandConfig(Section):
    """A program, never a shell; the event comes as JSON on its standard input."""

    argv: tuple[Text, ...] = Field(strict=False, min_length=1, max_length=100)
    timeout_seconds: PositiveSeconds = Field(30.0, description="then it is killed, and tried again")


class ActionConfig(Section):
    """One thing to do: exactly one of these."""

    webhook: WebhookConfig | None = None
    mqtt: MqttConfig | None = None
    sns: SnsConfig | None = None
    sqs: SqsConfig | None = None
    command: CommandConfig | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> ActionConfig:
        if len(self._given()) != 1:
            raise ValueError(f"exactly one of {', '.join(type(self).model_fields)} is expected")
        return self

    @property
    def kind(self) -> str:
        return self._given()[0]

    def _given(self) -> list[str]:
        return [name for name in type(self).model_fields if getattr(self, name) is not None]


class RuleConfig(Section):
    """When a caption is like this, do that."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    when: WhenConfig = WhenConfig()
    do: tuple[ActionConfig, ...] = Field(strict=False, min_length=1, max_length=20)


class EventsConfig(Section):
    """framecap events."""

    state: Text | None = Field(
        None, description="folder of what was looked at and what waits; null: below ~/.local/state/framecap"
    )
    rules: tuple[RuleConfig, ...] = Field((), strict=False, max_length=MAX_RULES)
    timeout_seconds: PositiveSeconds = Field(10.0, description="for an endpoint's answer")
    retry_min_seconds: PositiveSeconds = Field(
        1.0, description="until a failed delivery is tried again; then twice that, ..."
    )
    retry_max_seconds: PositiveSeconds = Field(300.0, description="between two tries at most")
    give_up_seconds: PositiveSeconds = Field(86_400.0, description="what was not delivered by then is a dead letter")
    max_waiting: int = Field(10_000, ge=1, le=10_000_000, description="per action; then the oldest is a dead letter")
    max_dead: int = Field(10_000, ge=1, le=10_000_000, description="dead letters kept per action")
    max_age_seconds: float | None = Field(
        None,
        gt=0,
        le=10_000_000_000,
        description="frames captured longer ago make no events (a recaptioned archive); null: all do",
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> EventsConfig:
        names = [rule.name for rule in self.rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two rules are named {twice[0]!r}")
        return self
