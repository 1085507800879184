package hostnet

// OnLostThread lets tests open sockets in a node's namespace.
var OnLostThread = onLostThread
