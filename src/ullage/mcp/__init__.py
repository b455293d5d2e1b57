"""The stack for clients of the Model Context Protocol: twelve tools over stdio, SSE or streamable HTTP."""
