package bus

import (
	"crypto/subtle"
	"strings"
	"sync"

	"github.com/nats-io/nats-server/v2/server"

	"bramble/trust"
)

// authenticator maps a connection to an identity and its permissions.
type authenticator struct {
	verify Verifier
	secret string                 // what in-process connections show
	system func() *server.Account // where presence events are
	mu     sync.Mutex
	conns  map[uint64]trust.Identity // live connections by id, until presence says they closed
}

// inProcessSystem is the in-process user that may hear the server's own events.
const inProcessSystem = "system"

// Check implements server.Authentication.
func (a *authenticator) Check(c server.ClientAuthentication) bool {
	state := c.GetTLSConnectionState()
	if state == nil || len(state.PeerCertificates) == 0 {
		return a.checkInProcess(c)
	}
	id, err := a.verify(state.PeerCertificates[0])
	if err != nil {
		return false
	}
	a.admit(c, id)
	// A revocation between the two looks has already cut what it knew of: look again now that this one is known.
	_, err = a.verify(state.PeerCertificates[0])
	return err == nil
}

// checkInProcess admits connections that never left this process: they know the secret made at start.
func (a *authenticator) checkInProcess(c server.ClientAuthentication) bool {
	opts := c.GetOpts()
	if subtle.ConstantTimeCompare([]byte(opts.Password), []byte(a.secret)) != 1 {
		return false
	}
	if opts.Username == inProcessSystem {
		c.RegisterUser(&server.User{Username: inProcessSystem, Account: a.system()})
		return true
	}
	id, err := trust.ParseIdentity(opts.Username)
	if err != nil {
		return false
	}
	a.admit(c, id)
	return true
}

func (a *authenticator) admit(c server.ClientAuthentication, id trust.Identity) {
	a.mu.Lock()
	a.conns[c.GetID()] = id
	a.mu.Unlock()
	c.RegisterUser(&server.User{Username: id.String(), Permissions: permissions(callerOf(id))})
}

// permissions is what a caller may publish and hear. The head may do everything. A node has a lane for its answers
// instead of a permission for each: the server would note every stream's address for it, and look through them again and again.
func permissions(who Caller) *server.Permissions {
	key := who.key()
	hear := []string{"_INBOX." + key + ".>", "_S." + key + ".>"}
	var say []string
	switch who.Kind {
	case trust.KindHead:
		return nil
	case trust.KindNode:
		say = []string{"*.from." + who.Name + ".*", "_S.head.*." + key, "_INBOX.head.*." + key + ".*"}
		hear = append(hear, "*.node."+who.Name+".*")
	case trust.KindClient:
		say = []string{"_S.head.*." + key}
		for class, needs := range classes {
			if who.Role.Includes(needs) {
				say = append(say, strings.Join([]string{"*", class, "*", who.Name, string(who.Role)}, "."))
			}
		}
	}
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: say},
		Subscribe: &server.SubjectPermission{Allow: hear},
	}
}

// classes of client requests, and the role each needs.
var classes = map[string]trust.Role{"read": trust.Viewer, "do": trust.Operator, "admin": trust.Admin}
