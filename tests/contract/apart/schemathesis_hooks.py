"""Random text names no model of ours: two requests in three get one that does, so that they come past the door."""

import schemathesis

NAMES = {"/v1/embeddings": "all-MiniLM-L6-v2"}


@schemathesis.hook
def map_body(context, body):
    given = body.get("model") if isinstance(body, dict) else None
    if isinstance(given, str) and 1 <= len(given) <= 128 and len(given) % 3:  # others are wrong on purpose
        return {**body, "model": NAMES.get(context.operation.path, "minilm-fusion-ranker")}
    return body


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    if path_parameters and len(str(path_parameters)) % 3:
        return {"org": "ullage", "model": "minilm-fusion-ranker"}
    return path_parameters
