"""A model: the notation of its network, the network, the bundle that stores it, and the runtime that scores windows."""
