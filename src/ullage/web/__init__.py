"""The web page: chat, documents, a rerank playground and the state of the stack. Talks over the wire alone."""
