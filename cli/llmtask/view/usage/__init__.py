"""What the usage log says, for people and for programs."""
