"""Random text names no model and no collection of ours: two requests in three get one that does, so that they come
past the door."""

import schemathesis

NAMES = {"/v1/embeddings": "all-MiniLM-L6-v2"}


COLLECTION = "c"


@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict) and len(str(body)) % 3:
        if "collection_names" in body:
            body = {**body, "collection_names": [COLLECTION]}
        if isinstance(body.get("messages"), list):
            body = {**body, "messages": [*body["messages"], {"role": "user", "content": "When is it tested?"}]}
    given = body.get("model") if isinstance(body, dict) else None
    if isinstance(given, str) and 1 <= len(given) <= 128 and len(given) % 3:  # others are wrong on purpose
        return {**body, "model": NAMES.get(context.operation.path, "minilm-fusion-ranker")}
    return body


@schemathesis.hook
def map_query(context, query):
    if query and "collection_name" in query and len(str(query)) % 3:
        return {**query, "collection_name": COLLECTION}
    return query


@schemathesis.check
def stated_5xx(context, response, case):
    """503 with its reason, and the contract's 500 for a collection or document that is not there."""
    if response.status_code < 500:
        return
    body = response.text
    if response.status_code == 503 and "message" in body:
        return
    if response.status_code == 500 and "does not exist" in body:
        return
    raise AssertionError(f"{case.method} {case.path} answered {response.status_code}: {body[:300]}")


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    if path_parameters and "collection_name" in path_parameters and len(str(path_parameters)) % 3:
        return {**path_parameters, "collection_name": COLLECTION}
    if path_parameters and "org" in path_parameters and len(str(path_parameters)) % 3:
        return {"org": "ullage", "model": "minilm-fusion-ranker"}
    return path_parameters
