"""The manifest's Serve config by Ray's own schema, and the applications that it builds. Starts no cluster."""

from __future__ import annotations

from pathlib import Path

import yaml

from ullage.stack.ray.autoscale import by_work
from ullage.stack.ray.deploy import SPREAD
from ullage.stack.ray.entry import build

DEPLOY = Path(__file__).parents[2] / "deploy"
FILE = DEPLOY / "kubernetes" / "rayservice.yaml"


def test_ray_knows_every_field_and_takes_what_is_built():
    from ray.serve.schema import ServeDeploySchema

    spec = next(iter(yaml.safe_load_all(FILE.read_text())))["spec"]
    config = ServeDeploySchema.model_validate(yaml.safe_load(spec["serveConfigV2"]))
    assert [application.name for application in config.applications] == ["ranking", "embedding", "vision"]
    for application in config.applications:
        deployment = build(application.args)._bound_deployment
        scaling = deployment._deployment_config.autoscaling_config
        assert scaling.policy.policy_function == f"{by_work.__module__}.{by_work.__name__}"
        assert scaling.max_replicas > scaling.min_replicas
        assert deployment.ray_actor_options["memory"] > 1 << 28


def test_ray_knows_every_field_of_the_llms_config():
    """What is in `args` is vLLM's and Serve LLM's, which load only where a GPU's libraries are."""
    from ray.serve.schema import ServeDeploySchema

    inside = next(iter(yaml.safe_load_all((DEPLOY / "kubernetes" / "rayservice-llm.yaml").read_text())))["spec"]
    for text in ((DEPLOY / "ray" / "llm.yaml").read_text(), inside["serveConfigV2"]):
        [application] = ServeDeploySchema.model_validate(yaml.safe_load(text)).applications
        assert application.import_path == "ray.serve.llm:build_openai_app"


def test_the_variable_that_spreads_requests_is_one_that_ray_reads():
    from ray.serve._private import constants
    from ray.serve.config import ControllerOptions

    assert all(hasattr(constants, name) for name in SPREAD)
    ControllerOptions(runtime_env={"env_vars": SPREAD})
