"""``python -m workers.training.data``: write a corpus."""

from workers.training.data.corpus import main

if __name__ == "__main__":
    main()
