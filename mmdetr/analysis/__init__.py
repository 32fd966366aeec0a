"""What a trained detector does, and what a run was: attention, errors, pages."""
