"""The field that an API server names is the one that is left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from clinical_ai.object_paths import without
from clinical_ai.ports_cluster import Object
from tests.support.object_fields import as_text, paths, value_at
from tests.support.object_schema import schema_of

WHOLE: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "annotations": {"a.b/c": "1", "a": "2"},
        "finalizers": ["x/y", 'quo"te'],
    },
    "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "web",
                        "env": [{"name": "A", "value": "1"}],
                        "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}],
                    }
                ]
            }
        },
    },
}
CONTAINER = '.spec.template.spec.containers[name="web"]'


@pytest.mark.parametrize(
    "path",
    [
        ".metadata.annotations.a.b/c",
        ".metadata.annotations.a",
        '.metadata.finalizers[="quo\\"te"]',
        ".spec.selector",
        f'{CONTAINER}.env[name="A"].value',
        f'{CONTAINER}.ports[containerPort=80,protocol="TCP"]',
        f'{CONTAINER}.ports[containerPort=80,protocol="UDP"]',
        CONTAINER,
    ],
)
def test_the_named_field_goes_and_nothing_else(path: str) -> None:
    schema, reduced = schema_of("apps/v1", "Deployment"), without(WHOLE, path)
    assert reduced is not None
    before, after = paths(schema, WHOLE), paths(schema, reduced)
    gone = {as_text(each) for each in before - after}
    assert gone
    assert all(each == path or each.startswith((f"{path}.", f"{path}[")) for each in gone)


@pytest.mark.parametrize("path", [".spec.replicas", f'{CONTAINER}.env[name="B"].value', ".spec[0]"])
def test_a_field_that_is_not_there_is_told(path: str) -> None:
    assert without(WHOLE, path) is None


@given(some.sampled_from(sorted(paths(schema_of("apps/v1", "Deployment"), WHOLE), key=repr)))
def test_every_field_that_can_be_in_conflict_can_be_left_out(path: tuple[object, ...]) -> None:
    reduced = without(WHOLE, as_text(path))
    assert reduced is not None
    assert value_at(schema_of("apps/v1", "Deployment"), reduced, path) is None
