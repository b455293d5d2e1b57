"""What a service says of its state."""

from ullage.http import Health


def test_loading_tells_how_far_it_is():
    health = Health()
    health.loading("loading weights", 0.4)
    body = health.body()
    assert body["reason"] == "loading weights 40 %"
    assert body["message"] == "Service is not ready: loading weights 40 %."
    assert (body["ready"], body["status"], body["state"], body["progress"]) == (False, "not_ready", "loading", 0.4)
    health.loading("scoring a first request")
    assert "progress" not in health.body()


def test_ready_is_the_body_that_every_known_client_takes():
    health = Health()
    health.set_ready()
    assert health.body() == {"object": "health.response", "message": "Service is ready.", "status": "ready",
                             "ready": True}


def test_a_pause_ends_and_says_why_meanwhile():
    health = Health()
    health.set_ready()
    health.pause("one row of 512 tokens does not fit")
    assert not health.ready
    assert health.body()["reason"] == "one row of 512 tokens does not fit"
    health.pause("still")
    assert health.reason == "still"
    health.resume()
    assert health.ready


def test_a_pause_and_its_end_change_nothing_while_loading_stopping_or_failed():
    for change in (lambda health: health.loading("x"), Health.stopping, lambda health: health.failed("x")):
        health = Health()
        change(health)
        state = health.state
        health.pause("short of memory")
        assert health.state == state
        health.resume()
        assert health.state == state
