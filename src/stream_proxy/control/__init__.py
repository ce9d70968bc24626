"""HTTP: health, readiness, and order events for clients that speak no WebSocket."""
