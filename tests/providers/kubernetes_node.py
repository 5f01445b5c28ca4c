"""Kubernetes for tests: one node, whose Pods see this machine's files."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.providers.clusters import KUBERNETES

__all__ = ["FOLDER", "node_address", "pod_options"]

FOLDER = Path(os.environ.get(KUBERNETES, ""))


def pod_options(folder: Path, seen: Sequence[Path]) -> dict[str, Any]:
    """Give a provider's options.

    Args:
        folder: for the template of its Pods.
        seen: folders of this machine that Pods see under the same path, beside its
            programs.
    """
    mounts = {f"v{number}": str(path) for number, path in enumerate(["/usr", *seen])}
    container = {
        "name": "block",
        "volumeMounts": [
            {"name": name, "mountPath": path} for name, path in mounts.items()
        ],
    }
    volumes = [
        {"name": name, "hostPath": {"path": path}} for name, path in mounts.items()
    ]
    template = folder / "pod.json"
    pod = {"spec": {"containers": [container], "volumes": volumes}}
    template.write_text(json.dumps(pod))
    return {
        "kube_config": str(FOLDER / "kubeconfig"),
        "image": "localhost/hostroot:1",
        "image_pull_policy": "Never",
        "pod_template": str(template),
        "kill_after": 2,
    }


def node_address() -> str:
    """Return the address at which Pods reach this machine."""
    for line in (FOLDER / "kubelet.yaml").read_text().splitlines():
        if line.startswith("address:"):
            return line.removeprefix("address:").strip()
    raise AssertionError(f"{FOLDER}/kubelet.yaml names no address")
