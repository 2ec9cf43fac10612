"""Studies on a sample of real input: a job run in several ways, and engines compared with float32."""
