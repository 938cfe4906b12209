"""What the Kubernetes files are checked against: KubeRay's types as it documents them, Kubernetes' own by their models.

KubeRay's are those of its field reference at v1.7.0 for `RayCluster` and `RayJob`, written down here: the custom
resource definitions themselves come in no Python package. Fields that we have no use for are left out, so that a file
that begins to use one fails until it is written down. An API server drops an unknown field without a word, which is
what all this is for: a field with a slip in its name is an error here.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, is_dataclass
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

KUBERAY = "1.7.0"
STRICT = ConfigDict(extra="forbid", strict=True)


def _models_without_their_client() -> None:
    """Let lightkube's models be imported without lightkube, a client with much below it: they take three names."""
    if "lightkube.core.schema" in sys.modules:
        return
    schema = ModuleType("lightkube.core.schema")
    vars(schema).update(dataclass=dataclass, field=field, DictMixin=type("DictMixin", (), {}))
    sys.modules["lightkube.core"] = ModuleType("lightkube.core")
    sys.modules["lightkube.core.schema"] = schema


_models_without_their_client()
from lightkube.models import core_v1, meta_v1, networking_v1  # noqa: E402

for module in (core_v1, meta_v1, networking_v1):
    for model in vars(module).values():
        if is_dataclass(model):
            # A field that is a word of Python's, such as `from`, is called `from_` in the models.
            model.__pydantic_config__ = ConfigDict(**STRICT, alias_generator=lambda name: name.removesuffix("_"))

NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
Name = Annotated[str, Field(pattern=NAME, max_length=47)]  # KubeRay hangs words of its own on it
Count = Annotated[int, Field(ge=0)]


class Strict(BaseModel):
    model_config = STRICT


class AuthOptions(Strict):
    mode: Literal["disabled", "token"] = "token"
    secretName: str | None = None
    enableK8sTokenAuth: bool | None = None


class AutoscalerOptions(Strict):
    version: Literal["v1", "v2"] | None = None
    idleTimeoutSeconds: Count | None = None
    upscalingMode: Literal["Default", "Aggressive", "Conservative"] | None = None
    image: str | None = None
    imagePullPolicy: Literal["Always", "IfNotPresent", "Never"] | None = None
    resources: core_v1.ResourceRequirements | None = None
    securityContext: core_v1.SecurityContext | None = None
    env: list[core_v1.EnvVar] | None = None


class HeadGroupSpec(Strict):
    template: core_v1.PodTemplateSpec
    rayStartParams: dict[str, str] = {}
    serviceType: Literal["ClusterIP", "NodePort", "LoadBalancer"] | None = None
    enableIngress: bool | None = None
    resources: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class WorkerGroupSpec(Strict):
    groupName: str
    template: core_v1.PodTemplateSpec
    rayStartParams: dict[str, str] = {}
    replicas: Count = 0
    minReplicas: Count = 0
    maxReplicas: Count
    numOfHosts: Annotated[int, Field(ge=1)] = 1
    idleTimeoutSeconds: Count | None = None
    priority: int | None = None
    resources: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class RayClusterSpec(Strict):
    headGroupSpec: HeadGroupSpec
    workerGroupSpecs: list[WorkerGroupSpec] = []
    rayVersion: str | None = None
    authOptions: AuthOptions | None = None
    enableInTreeAutoscaling: bool | None = None
    autoscalerOptions: AutoscalerOptions | None = None
    suspend: bool | None = None


class SubmitterConfig(Strict):
    backoffLimit: Count | None = None


class RayJobSpec(Strict):
    entrypoint: str
    clusterSelector: dict[str, str] | None = None
    rayClusterSpec: RayClusterSpec | None = None
    submissionMode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"] = "K8sJobMode"
    submitterConfig: SubmitterConfig | None = None
    submitterPodTemplate: core_v1.PodTemplateSpec | None = None
    shutdownAfterJobFinishes: bool | None = None
    ttlSecondsAfterFinished: Count | None = None
    activeDeadlineSeconds: Annotated[int, Field(ge=1)] | None = None
    backoffLimit: Count | None = None
    runtimeEnvYAML: str | None = None
    jobId: str | None = None
    suspend: bool | None = None


class Metadata(Strict):
    name: Name
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class RayCluster(Strict):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: RayClusterSpec


class RayJob(Strict):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: RayJobSpec


KINDS: dict[tuple[str, str], Any] = {
    ("ray.io/v1", "RayCluster"): RayCluster,
    ("ray.io/v1", "RayJob"): RayJob,
    ("networking.k8s.io/v1", "NetworkPolicy"): networking_v1.NetworkPolicy,
}


def checked(text: str) -> None:
    """Check a manifest, given as JSON, by its own kind.

    Raises:
        pydantic.ValidationError: what is wrong with it, field by field.
        KeyError: a kind that is not written down here.
    """
    head = TypeAdapter(dict[str, Any]).validate_json(text)
    TypeAdapter(KINDS[head["apiVersion"], head["kind"]]).validate_json(text)
