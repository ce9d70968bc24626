"""The feed handler: one feed's hub, demand and memory as one thing, between sources and outlets."""
