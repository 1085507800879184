package host

// Old makes a host start processes as on a kernel without clone3.
func Old(h *Real) {
	h.starter.old.Store(true)
	h.starter.groups.disable()
}
