"""`python -m ullage` is the console script `ullage`."""

from ullage.cli.main import run

if __name__ == "__main__":
    run()
