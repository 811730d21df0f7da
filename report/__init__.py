"""One page that tells a run, or several beside each other: facts from what runs write, then drawn as one HTML file."""
