"""Small Kubernetes objects that tests apply."""

from typing import Any

from clinical_ai.ports_cluster import Object

LABELS = {"app": "contract"}


def config(name: str = "settings", **data: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {**LABELS}},
        "data": data,
    }


def secret(name: str = "credentials", **values: str) -> Object:
    about = {"name": name, "labels": {**LABELS}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": about, "stringData": values}


def deployment(**spec: Any) -> Object:
    container = {
        "name": "web",
        "image": "localhost:5000/nothing:1",
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "ports": [{"containerPort": 8080}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {**LABELS}},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [container]},
            },
            **spec,
        },
    }
