"""`python -m kobs` is `kobs`."""

from kobs.cli import main

if __name__ == "__main__":
    main()
