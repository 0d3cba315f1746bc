"""The app: configuration, wiring, server and CLI. The one package that knows all others."""
