"""What the jobs in `jobs/bench/` run: measurements of speed."""
