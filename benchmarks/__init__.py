"""What the documents claim about speed and size, measured as ratios in one run."""
