"""The leaderboard: results folded into ranked rows. Pure folds; the results in the store are the truth."""
