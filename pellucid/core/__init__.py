"""Layer 0: what everything else stands on: dtypes, devices, specs, storage, configuration, stage bus, errors."""
