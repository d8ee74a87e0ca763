"""PromQL: text arrives, a tree leaves whose every node knows its place in the text."""
