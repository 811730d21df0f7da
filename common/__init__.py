"""What every package may lean on: errors meant for the user, safe files, progress. Imports nothing of ours."""
