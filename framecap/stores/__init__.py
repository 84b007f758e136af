"""Where frames and sidecars live: a local directory, a mounted directory, a bucket."""
