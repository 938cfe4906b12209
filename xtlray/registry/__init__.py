"""The library of models in the store: publish, resolve, list, load, verify."""
