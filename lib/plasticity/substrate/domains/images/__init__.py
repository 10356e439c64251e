"""Pictures: an encoder for any size, filters learnt without labels, contexts that vote."""
