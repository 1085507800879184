package fleet

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"bramble/fault"
	"bramble/trust"
)

// revocation is a question about a certificate, and its answer. Whoever is turned away by TLS hears no reason from it.
type revocation struct {
	Serial  string `json:"serial"`
	Revoked bool   `json:"revoked"`
}

// revoked answers whoever asks, as a CA's list of revocations would.
func (s *Service) revoked(w http.ResponseWriter, r *http.Request) {
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(joinPatience))
	var about revocation
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJoin)).Decode(&about)
	if err != nil {
		writeFault(w, fault.New(fault.Misused, "unreadable request: %w", err))
		return
	}
	if about.Revoked, err = s.Authority.Revoked(about.Serial); err != nil {
		writeFault(w, err)
		return
	}
	json.NewEncoder(w).Encode(about)
}

// Revoked asks the head at addr whether it has revoked cred's certificate. The head proves itself by the cluster's CA.
func Revoked(ctx context.Context, addr string, cred *trust.Credential, now func() time.Time) (bool, error) {
	answer, err := post[revocation](ctx, WithPort(addr, PeerPort), "/revoked", trust.PinnedConfig(trust.PinOf(cred.CA()), now), revocation{Serial: cred.Identity().Serial})
	return answer.Revoked, err
}
