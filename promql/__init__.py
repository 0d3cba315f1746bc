"""PromQL: text to syntax, to plan, to matrices. Synchronous; reads storage through one protocol."""
