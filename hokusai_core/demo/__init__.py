"""``hokusai demo``: a training that outlives its server, and a count of what arrived."""
