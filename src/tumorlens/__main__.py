"""``python -m tumorlens``: the command line without an installed script."""

from tumorlens.cli import main

if __name__ == "__main__":
    main()
