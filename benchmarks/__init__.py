"""What measures: the naive loop that `framecap bench` runs beside framecap, two versions compared, a fleet simulated."""
