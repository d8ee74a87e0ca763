"""The log collector of a node.

    discovery -> registry -> turns -> reading -> tailing -> state -> delivery

`discovery` finds files (`folder_watching`: where names come and go). `registry` keeps which source and segment each of
them is (`identity`: what the bytes say, `recognition`: known ones under another name, `unidentified`: not known yet).
`turns` says who is read next; `resting` lets quiet sources wait until they grow (`watching`). `reading` cuts the next
batch out of a segment (`segments`: its bytes, `cutting`: where), `tailing` collects the batches of all sources, `state`
makes their boundaries durable, `delivery` sends them (`shipments`) until they are stored. `losses` puts on record what
can't be read: `vanishing` gives up files that are gone, `earlier_claims` those that an earlier state knew. The files
themselves are the only buffer.
"""
