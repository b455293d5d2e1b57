"""What a Serve config file names as `import_path`: an application of one service, its settings from the environment."""

from __future__ import annotations

from typing import Any

from ullage.errors import SettingsError
from ullage.settings import Service, load
from ullage.stack.place import place_one
from ullage.stack.ray.deploy import application
from ullage.stack.ray.replicas import ON_RAY, Replicas, parse_replicas

ARGUMENTS = ("service", "replicas", "cpus")


def build(arguments: dict[str, Any]) -> Any:
    """`service`, `replicas` such as 2 or 1..4, and `cpus` of one replica. Raises SettingsError for any other argument.

    The plan is made on the node that builds: where GPUs are on other nodes only, say so by `ullage up --ray` from one.
    """
    if unknown := sorted(set(arguments) - set(ARGUMENTS)):
        raise SettingsError(f"args of the application: {unknown[0]} is none of {', '.join(ARGUMENTS)}")
    name = str(arguments.get("service", ""))
    if name not in ON_RAY:
        raise SettingsError(f"args of the application: service={name!r} does not run on Ray; there are "
                            f"{', '.join(ON_RAY)}")
    service: Service = name
    replicas = parse_replicas(f"{service}={arguments.get('replicas', 1)}").get(service, Replicas())
    settings = load({}, service=service).settings
    return application(place_one(settings, service)[service], settings, replicas, float(arguments.get("cpus", 1)))
