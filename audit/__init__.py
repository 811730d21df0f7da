"""What a run's numbers are worth: no image is trained on and tested on, whatever it is called."""
