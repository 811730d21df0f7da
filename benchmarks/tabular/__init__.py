"""Every architecture of a small space, trained, and what each way to search picks among them."""
