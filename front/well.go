package front

// Well reports whether there is anybody to ask: a member of any pool that is up. It is false before Run.
func (s *Server) Well() bool {
	for _, pool := range s.Standing() {
		for _, m := range pool.Members {
			if !m.Health.Down {
				return true
			}
		}
	}
	return false
}
