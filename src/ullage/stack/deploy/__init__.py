"""The plan as what others start us from: a compose environment, Kubernetes manifests, a systemd unit."""

from ullage.stack.deploy.compose import compose_environment
from ullage.stack.deploy.kubernetes import manifests
from ullage.stack.deploy.limits import limit_bytes
from ullage.stack.deploy.systemd import systemd_unit

__all__ = ["compose_environment", "limit_bytes", "manifests", "systemd_unit"]
