"""What the world says: samples in columns, the identity of a series, one decoder per format."""
