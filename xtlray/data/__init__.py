"""Datasets: read and check files, cut splits, write Parquet shards and their card, load them again."""
