"""Day zero in a cluster: until a server answers and deploy/self takes over."""
