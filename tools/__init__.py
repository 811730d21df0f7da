"""Leaf commands that nothing else imports. Families have folders of their own."""
