"""lorapool backend: queue, supervisor, instances, trainer, gateway and client."""
