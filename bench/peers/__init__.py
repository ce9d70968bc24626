"""Programs that the proxy is compared with."""
