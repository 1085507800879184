package host

// Old makes a host start processes as on a kernel without clone3, and, the second time, without pidfd.
func Old(h *Real) {
	h.starter.way.Add(1)
	h.starter.groups.disable()
}
