import subprocess
import sys


def test_a_service_that_calls_nobody_carries_no_client():
    """It would take a tenth of its start."""
    said = subprocess.run([sys.executable, "-c", "import ullage.serve.ranking.app, ullage.stack.doors, sys;"
                           "print('aiohttp' in sys.modules)"], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"
