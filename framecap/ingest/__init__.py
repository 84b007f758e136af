"""Which frames are pending: the scan is the truth, hints bring keys forward."""
