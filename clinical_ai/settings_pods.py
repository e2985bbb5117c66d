"""What an operator adds to the pods of one component; it survives every deploy."""

from typing import Literal

from pydantic import Field

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


class Toleration(Frozen):
    """A taint that these pods bear."""

    key: LabelKey | None = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = Field(default=None, strict=True, ge=0)


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
