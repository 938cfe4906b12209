"""The command line: parse, call the pipeline, print. One file per command group."""
