"""huggingface_hub's InferenceClient against the routes of text-embeddings-inference. It posts to the URL given."""

import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError


@pytest.mark.parametrize("path", ["", "/embed"])
def test_feature_extraction(embedding, path):
    client = InferenceClient(model=f"{embedding.url}{path}")
    vector = client.feature_extraction("a ferry")
    assert vector.shape == (1, 384)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_options_and_truncation(embedding):
    client = InferenceClient(model=f"{embedding.url}/embed")
    long = "word " * 700
    with pytest.raises(HfHubHTTPError) as refused:
        client.feature_extraction(long, truncate=False)
    assert refused.value.response.status_code == 413
    assert refused.value.response.json()["error_type"] == "validation"
    start = client.feature_extraction("alpha " * 600 + "omega", truncate=True, truncation_direction="left")
    end = client.feature_extraction("alpha " * 600 + "omega", truncate=True, normalize=True, prompt_name="query")
    assert not np.array_equal(start, end)
