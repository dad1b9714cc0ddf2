"""`python -m polyprompt`, for launchers: `accelerate launch -m polyprompt align ...`."""

from polyprompt.cli.main import main

if __name__ == "__main__":
    main()
