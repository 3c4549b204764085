"""The gateway's room: a process that speaks to the hub as a client does, asynchronously. It is neither hub nor command."""
