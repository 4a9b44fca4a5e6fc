"""``python -m tumorlens``: the command, for where scripts are not on the path."""

from tumorlens.cli import main

if __name__ == "__main__":
    main()
