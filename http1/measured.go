package http1

import "net/http"

// Measured is an answer through net/http of which the status and the size of the body are known afterwards.
type Measured struct {
	http.ResponseWriter
	Status int   // 0 until there is one; interim ones do not count
	Size   int64 // bytes
}

// WriteHeader is http.ResponseWriter's.
func (m *Measured) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		m.Status = status
	}
	m.ResponseWriter.WriteHeader(status)
}

// Write is http.ResponseWriter's.
func (m *Measured) Write(b []byte) (int, error) {
	if m.Status == 0 {
		m.Status = http.StatusOK
	}
	n, err := m.ResponseWriter.Write(b)
	m.Size += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (m *Measured) Unwrap() http.ResponseWriter { return m.ResponseWriter }
