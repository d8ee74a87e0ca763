"""From bytes that agents and others send to rows in the store: limit, parse, enrich, batch, acknowledge."""
