"""How one service calls another over the wire.

Nothing is imported here: most services call nobody, and aiohttp takes time to load.
"""
