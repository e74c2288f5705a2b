"""Run the command line as `python -m corepress`."""

from corepress.cli.main import main

if __name__ == "__main__":
    main()
