"""What an operator adds to the pods of one component; it survives every deploy."""

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from clinical_ai.frozen import Frozen
from clinical_ai.notation_kubernetes import (
    Annotations,
    LabelKey,
    Labels,
    LabelValue,
    Name,
    Quantity,
    Variables,
)

_LONGEST: Final = 2**63 - 1  # seconds, as the API server counts them


class Toleration(Frozen):
    """A taint that these pods bear."""

    key: LabelKey | None = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = Field(default=None, strict=True)

    @model_validator(mode="after")
    def _as_kubernetes_takes_it(self) -> Self:
        """Else the API server refuses the whole pod, in the middle of a roll-out."""
        seconds = self.toleration_seconds
        if self.key is None and self.operator == "Equal":
            raise ValueError(
                'has no key and operator Equal; give key, or operator = "Exists" for every taint'
            )
        if self.operator == "Exists" and self.value:
            raise ValueError(
                "has a value and operator Exists, which is for all values;"
                ' leave value out, or write operator = "Equal"'
            )
        if seconds is None:
            return self
        if self.effect != "NoExecute":
            effect = f"effect {self.effect}" if self.effect else "no effect"
            raise ValueError(
                f"has toleration-seconds and {effect};"
                ' write effect = "NoExecute", or leave toleration-seconds out'
            )
        if not 0 <= seconds <= _LONGEST:
            raise ValueError(f"has toleration-seconds {seconds}; write 0 to {_LONGEST}")
        return self


class Amounts(Frozen):
    """Of one container; what is absent is the platform's own amount."""

    cpu: Quantity | None = None
    memory: Quantity | None = None
    ephemeral_storage: Quantity | None = None


class Resources(Frozen):
    """What a container is promised, and what it may not exceed."""

    requests: Amounts = Amounts()
    limits: Amounts = Amounts()


class Component(Frozen):
    """Additions to the pods of one component.

    `environment` holds text and `secret:NAME/KEY` references; a value that looks like a secret is
    refused.
    """

    environment: Variables = {}
    node_selector: Labels = {}
    tolerations: tuple[Toleration, ...] = ()
    resources: Resources = Resources()
    annotations: Annotations = {}
    image_pull_secrets: tuple[Name, ...] = ()
    priority_class: Name | None = None
