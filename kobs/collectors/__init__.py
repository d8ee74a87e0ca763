"""What runs on a node: tails logs, samples the machine, ships. Knows no store and nothing that is large in memory."""
