"""AWS Batch for tests, by moto: jobs are containers that see this machine's files."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from providers.extras import load_extra
from tests.providers.clusters import AWS_BATCH

__all__ = ["FOLDER", "register_definition", "talking_to_aws"]

FOLDER = Path(os.environ.get(AWS_BATCH, ""))


@contextmanager
def talking_to_aws() -> Iterator[None]:
    """Make boto3 talk to the server."""
    with pytest.MonkeyPatch.context() as patch:
        port = (FOLDER / "port").read_text().strip()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        yield


def register_definition(folders: Sequence[Path]) -> str:
    """Register a job definition; return its ARN.

    Args:
        folders: of this machine, that containers see under the same path, beside its
            programs.
    """
    mounts = [(Path("/usr"), True), *((folder, False) for folder in folders)]
    client = load_extra("aws_batch", "boto3").client("batch")
    answer = client.register_job_definition(
        jobDefinitionName="actors-tests",
        type="container",
        containerProperties={
            "image": "docker.io/library/hostroot:latest",
            "resourceRequirements": [
                {"type": "VCPU", "value": "1"},
                {"type": "MEMORY", "value": "512"},
            ],
            "volumes": [
                {"name": f"v{number}", "host": {"sourcePath": str(path)}}
                for number, (path, _) in enumerate(mounts)
            ],
            "mountPoints": [
                {
                    "sourceVolume": f"v{number}",
                    "containerPath": str(path),
                    "readOnly": is_read_only,
                }
                for number, (path, is_read_only) in enumerate(mounts)
            ],
        },
    )
    client.close()
    arn: str = answer["jobDefinitionArn"]
    return arn
