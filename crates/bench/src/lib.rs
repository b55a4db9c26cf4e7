//! Load tool: native clients, latency, fan-out, catch-up and idle memory, each beside the limit of the machine.
