"""`python -m pipelines` is `avstore`."""

from pipelines.cli import main

if __name__ == "__main__":
    main()
