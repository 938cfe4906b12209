"""The leaderboard: results folded into ranked rows and two Delta tables. The results in the store are the truth."""
