package agent

import (
	"context"
	"crypto/ecdsa"
	"os"
	"os/user"

	"bramble/trust"
)

// issue gives a key of this machine's own a certificate.
func (h *head) issue(ctx context.Context, id trust.Identity, key *ecdsa.PrivateKey) (*trust.Credential, error) {
	csr, err := trust.NewRequest(key)
	if err != nil {
		return nil, err
	}
	text, _, err := h.authority.Issue(ctx, id, csr)
	if err != nil {
		return nil, err
	}
	certs, err := trust.ParseCertificates(text)
	if err != nil {
		return nil, err
	}
	return trust.NewCredential(key, certs[0], h.ca.Cert())
}

// ownUser is the person who made the cluster: who called sudo, else the account itself.
func ownUser() string {
	if name := os.Getenv("SUDO_USER"); name != "" {
		return trust.SuggestName(name)
	}
	if u, err := user.Current(); err == nil && u.Username != "" {
		return trust.SuggestName(u.Username)
	}
	return "admin"
}
