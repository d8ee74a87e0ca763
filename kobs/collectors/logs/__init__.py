"""The log collector of a node.

    discovery -> identity -> segments -> tailing -> state -> delivery

`discovery` finds files, `identity` says which source and segment they are, `segments` reads their bytes, `tailing`
cuts batches fairly, `state` makes their boundaries durable, `delivery` sends them until they are stored. The files
themselves are the only buffer.
"""
