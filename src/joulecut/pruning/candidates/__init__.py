"""What a search can remove next: channels, nodes, blocks, layers, weights, each kind from its own source."""
