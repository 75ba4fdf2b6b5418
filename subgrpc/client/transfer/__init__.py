"""How files travel between a folder and an artifact: what is sent, what is taken up again.

It blocks and works in threads, whichever client asks: hashing, reading and writing files is what
takes the time. Nothing here is generated.
"""
