"""A web page on this machine that asks a trained network about pictures: ``python -m tools.page --ckpt .../best.pt``"""
