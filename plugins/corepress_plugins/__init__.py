"""The algorithms that come with corepress; each is a plugin like any other."""
