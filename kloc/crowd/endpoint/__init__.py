"""The crowd endpoint: an MTurk-compatible Requester API, a worker web app and a media server in one process.

It has its own database and shares no code with the client side, so that either end of the wire can be
replaced. It starts without torch: nothing here imports more of kloc than errors and files.
"""
