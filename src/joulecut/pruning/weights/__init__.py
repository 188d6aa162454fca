"""Weight pruning: single weights, n of every m inputs or whole blocks set to zero, and the rest re-solved."""
