"""One file a resource; each declares its endpoints as a constant."""
